"""Every shipped task has a card in sim/README.md, and it is what the code says."""

from shown import pages
from task_cards import BEGIN, END, TASKS, WORLDS, all_cards

from robot_wm.plugins import entries
from robot_wm.tasks import GROUP


def test_every_card_is_what_the_code_says():
    """If not: ``python tests/docs/task_cards.py`` prints what belongs there."""
    page = pages()["sim/README.md"]
    assert page[page.index(BEGIN) : page.index(END) + len(END)] == all_cards()


def test_every_task_of_ours_has_a_card():
    ours = entries(GROUP)
    assert set(TASKS) == {name for name, entry in ours.items() if entry.value.startswith("robot_wm_sim.tasks")}
    assert set(WORLDS) == {name for name, entry in ours.items() if entry.value.startswith("robot_wm_worlds")}
