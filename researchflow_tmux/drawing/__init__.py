"""Pictures of curves as SVG and HTML: plain text made of plain values, with nothing to install and nothing to load."""
