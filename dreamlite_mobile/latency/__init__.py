"""How long a bundle would take on a Snapdragon's HTP, for those without the phone: work counted, rates fitted.

`work` counts what a network does, `rates` turns counts into seconds with rates fitted on published measurements,
`networks` counts those of DreamLite, `picture` adds up what one picture takes.
"""
