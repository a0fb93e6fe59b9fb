"""Golden transcripts through taps and bridges."""
