"""One array of amplitudes: how gates act on it, and the small matrices and angles that they are made of."""
