"""What is learnt from: copies of any module (frozen, ema, past), and what a language model, or several, answer a batch."""
