"""What is read from a state: observables, expectation values, samples, reduced states."""
