"""Tests against a real model server: llama.cpp's own, with a model of random weights made on the spot."""
