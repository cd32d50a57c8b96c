"""`python -m robot_wm`."""

from robot_wm.cli import main

main()
