"""Where the waves of an ECG begin and end: the network that was taught by hand marks, the rules around it, and what a
beat is.

`llava_ecg.ecg.waves.delineate.delineate` is the face: a signal -> `Delineation`.
"""
