"""Every quantity that can be randomised stands in sim/README.md, as the code has it."""

from quantities import BEGIN, END, table
from shown import pages

from robot_wm_sim.randomisation.ranges import BOUNDS


def test_the_table_of_quantities_is_what_the_code_says():
    """If not: ``python tests/docs/quantities.py`` prints what belongs there."""
    page = pages()["sim/README.md"]
    assert page[page.index(BEGIN) : page.index(END) + len(END)] == table()


def test_every_quantity_says_what_it_is():
    assert [name for name, bounds in BOUNDS.items() if not bounds.meaning] == []
