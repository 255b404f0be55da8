"""Figures: what the other verbs say, drawn; SVG text out.

`drawing` draws, `themes` says how it looks, `paper` makes PNG and PDF of it; the other modules say what is drawn.
"""
