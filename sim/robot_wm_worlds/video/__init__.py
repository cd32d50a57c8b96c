"""Video rate control: which quantiser each second of a video gets, under a budget of bits and a decoder's buffer.

Shape letters: N chunks of a programme, Q quantisers, M modes of the encoder, K chunks that are looked ahead, F frames.
"""
