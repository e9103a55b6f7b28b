"""What a figure shows, apart from how it is drawn: once as a picture, once interactively."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from agents.reporting.estimates import Estimate


@dataclass(frozen=True)
class Series:
    """Points or a line with a colour; `low` and `high`, where given, are a band or error bars."""

    name: str
    colour: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    texts: tuple[str, ...] = ()
    """one for each point"""
    marker: str = "circle"
    line: bool = False


@dataclass(frozen=True)
class Chart:
    """A figure of one or several panels beside each other."""

    name: str
    """of its file"""
    title: str
    x_label: str
    y_label: str
    panels: tuple[tuple[str, tuple[Series, ...]], ...]
    """(title, series)"""
    shared_scale: bool = True
    """whether all panels have the same y axis"""
    log_x: bool = False
    ticks: tuple[float, ...] = ()
    """of x, in place of the usual ones"""
    note: str = ""


@dataclass(frozen=True)
class HeatMap:
    """Mean scores over the bins of hidden proportion and the budgets; NaN where nothing ran."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: np.ndarray
    """(rows, columns)"""
    counts: np.ndarray
    """configurations in each cell"""
    note: str = ""


@dataclass(frozen=True)
class Intervals:
    """Figures with their intervals, one below the other, in one or several panels beside each other."""

    name: str
    """of its file"""
    title: str
    x_label: str
    colours: Mapping[str, str]
    """label -> colour, from top to bottom"""
    panels: Mapping[str, Mapping[str, Estimate]]
    """title -> label -> figure; a panel may lack some"""
    note: str = ""
