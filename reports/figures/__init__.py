"""Figures as SVG text. One style, one module per kind of figure; matplotlib without pyplot's state."""
