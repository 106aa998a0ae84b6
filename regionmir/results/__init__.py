"""What goes back to a PACS: SR, contact sheet, PDF, presentation state and key object, each built from values alone.

Builders are pure: a `ResultSource` in, a data set ready to be sent out; the same source gives the same bytes.
"""
