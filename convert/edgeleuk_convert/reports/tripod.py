"""An appendix of `evaluate --report`: where it answers the items of TRIPOD+AI, and where it does not.

Collins et al., "TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use
regression or machine learning methods", BMJ 385 (2024), e078378. The items are said in words of our own:
whoever reports a study goes by the statement itself.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.io.page import row, section, table

if TYPE_CHECKING:
    from collections.abc import Collection

TITLE = "Appendix: the items of TRIPOD+AI"
# The lines above the first section.
OPENING = "the opening lines"
NUMBERS, BASELINES, SUBJECTS = "Numbers", "Beside what plain numbers reach", "Subject by subject"
GAPS, CONFUSION, ROC = "What a random split would have claimed", "Confusion", "ROC"
RELIABILITY, HARD, WORST, LEFT_OUT = (
    "Does 80 % mean 80 %?",
    "The hard subjects",
    "The worst cells",
    "Left out",
)
_STUDY = "only those who ran the study know it"
_CARD = "see the bundle's model card"
_TRAINING = "see the training record that stands beside the network"


class Item(NamedTuple):
    """One item.

    Attributes
    ----------
    number, topic : str
    asks : str
        What it asks for.
    where : tuple of str
        How the titles of the sections begin that answer it.
    missing : str
        What the report does not tell, or why it does not answer the item.
    """

    number: str
    topic: str
    asks: str
    where: tuple[str, ...] = ()
    missing: str = ""


ITEMS = (
    Item("1", "title", "that a prediction model is evaluated, in whom and for what", (OPENING,), "in whom"),
    Item("2", "abstract", "a structured summary", (OPENING, NUMBERS), "a summary in prose"),
    Item("3a", "background", "the setting, the reason for the model, other models", (), _STUDY),
    Item("3b", "background", "for whom, at which point and by whom it is meant to be used", (), _CARD),
    Item("3c", "background", "known inequalities between groups of people", (), _STUDY),
    Item("4", "objectives", "whether a model is developed, evaluated, or both", (OPENING,)),
    Item("5a", "data", "where they come from, and how well they stand for the population", (OPENING,),
         "how well they stand for it"),
    Item("5b", "data", "from when to when they were collected", (), "pictures carry no dates"),
    Item("6a", "participants", "the setting, the centres and where they are", (), _STUDY),
    Item("6b", "participants", "who was eligible", (LEFT_OUT,), "who was eligible at first"),
    Item("6c", "participants", "treatments received", (), _STUDY),
    Item("7", "data preparation", "how data were prepared, and whether alike for all groups", (),
         "the bundle's contract has the preprocessing, one for all cells"),
    Item("8a", "outcome", "what is predicted, and how it was assessed", (OPENING, CONFUSION),
         "how the labels came about"),
    Item("8b", "outcome", "who assessed it, where that takes judgement", (), _STUDY),
    Item("8c", "outcome", "whether they were blind to the predictors", (), _STUDY),
    Item("9a", "predictors", "why these predictors", (BASELINES,), "why a picture of the cell"),
    Item("9b", "predictors", "each predictor, when and how it was measured", (),
         "the network sees the cell's pixels; the bundle's contract says how"),
    Item("9c", "predictors", "who measured them, where that takes judgement", (), "software does"),
    Item("10", "sample size", "how the size came about, and whether it is enough", (OPENING, NUMBERS),
         "a calculation; the intervals tell what the size is worth"),
    Item("11", "missing data", "how they were handled", (LEFT_OUT,), "pictures that could not be found"),
    Item("12a", "analysis", "which data were used for what, and how they were parted", (OPENING, LEFT_OUT)),
    Item("12b", "analysis", "how predictors entered the model", (), _TRAINING),
    Item("12c", "analysis", "type of model, its building, tuning and internal validation", (), _TRAINING),
    Item("12d", "analysis", "how differences between clusters were handled", (NUMBERS, SUBJECTS)),
    Item("12e", "analysis", "all measures and plots of performance", (NUMBERS, ROC, RELIABILITY, BASELINES)),
    Item("12f", "analysis", "updates of the model that the evaluation led to", (), "nothing is updated here"),
    Item("12g", "analysis", "how predictions were computed", (OPENING,),
         "the code; the model runs as it does on the device"),
    Item("13", "class imbalance", "methods against it, and what was done afterwards", (NUMBERS,),
         "whether the training used any: see its record"),
    Item("14", "fairness", "what was done for fairness, and why", (), "pictures carry no age, sex or origin"),
    Item("15", "output", "what the model puts out, and how thresholds were chosen", (OPENING, NUMBERS),
         "how the threshold was chosen: see the bundle's calibration record"),
    Item("16", "training and evaluation", "differences between the data of both", (GAPS, LEFT_OUT, HARD),
         "of settings and eligibility"),
    Item("17", "ethics", "approval and consent", (), _STUDY),
    Item("18a", "open science", "funding", (), _STUDY),
    Item("18b", "open science", "conflicts of interest", (), _STUDY),
    Item("18c", "open science", "where the protocol is", (), _STUDY),
    Item("18d", "open science", "registration", (), _STUDY),
    Item("18e", "open science", "whether the data can be had", (), _CARD),
    Item("18f", "open science", "whether the code can be had", (), "edgeleuk; its version is at the end"),
    Item("19", "involvement", "of patients and the public", (), _STUDY),
    Item("20a", "participants", "how many there were, with and without the outcome", (OPENING, LEFT_OUT)),
    Item("20b", "participants", "their characteristics, of each source", (SUBJECTS,), "all but the label"),
    Item("20c", "participants", "a comparison with those of the development", (LEFT_OUT,),
         "of their characteristics"),
    Item("21", "development", "how many took part in each step", (BASELINES, LEFT_OUT), "in the training"),
    Item("22", "specification", "the whole model, so that others can use it", (), "the bundle is the model"),
    Item("23a", "performance", "estimates with intervals, of key subgroups too",
         (NUMBERS, BASELINES, SUBJECTS, HARD)),
    Item("23b", "performance", "how it differs between clusters", (SUBJECTS, HARD)),
    Item("24", "updating", "results of updates", (), "nothing is updated here"),
    Item("25", "interpretation", "the results, fairness and earlier studies", (BASELINES,),
         "an interpretation: this report gives none"),
    Item("26", "limitations", "of the study", (OPENING, WORST), "limits that are not in the numbers"),
    Item("27a", "use", "how poor or missing input is handled", (), "the device names its reasons"),
    Item("27b", "use", "what users have to do and to know", (), "see the guide"),
    Item("27c", "use", "next steps, with regard to use elsewhere", (), _STUDY),
)  # fmt: skip


def tripod_appendix(titles: Collection[str]) -> str:
    """Return the appendix of a report whose sections have these titles."""
    rows = [
        row([item.number, escape(item.topic), escape(item.asks), escape(answer(item, titles))])
        for item in ITEMS
    ]
    answered = sum(bool(present(item, titles)) for item in ITEMS)
    return section(
        TITLE,
        f"<p>TRIPOD+AI (BMJ 2024;385:e078378) has 27 items for reports of prediction models. This answers"
        f" {answered} of their {len(ITEMS)} parts, some in part only. What each asks is said in short; the"
        " statement itself is what counts.</p>",
        table(["item", "topic", "what it asks for", "where it is answered"], rows, css="text"),
    )


def present(item: Item, titles: Collection[str]) -> list[str]:
    """Return the titles of the sections that answer an item."""
    return [title for beginning in item.where for title in (OPENING, *titles) if title.startswith(beginning)]


def answer(item: Item, titles: Collection[str]) -> str:
    """Say where an item is answered, and what is missing."""
    found = present(item, titles)
    if not found:
        return f"not answered here: {item.missing or 'this report has no such section'}"
    where = "; ".join(found)
    return f"in part, in {where}; not told: {item.missing}" if item.missing else f"in {where}"
