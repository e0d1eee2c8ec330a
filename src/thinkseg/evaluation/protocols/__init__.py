"""What each benchmark makes of scores and masks, quirks included.

    plans           rows -> which figures a benchmark reports, and how they come to be
    robustness      pixels -> the robustness R of ReVOS, as published and as meant
    refdavis        label maps of all objects at once -> J and F of Ref-DAVIS17 protocol A
    lgvis           tracks -> average precision of ViCaS

The protocols differ in more than names, and figures of different ones must not be compared; so everything that holds
figures says which one it follows.
"""
