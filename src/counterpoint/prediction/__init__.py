"""From a trained folder to answers: what each kind of model says of new rows, read in bounded memory and written whole or not at all."""
