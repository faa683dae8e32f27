//! Arbitrary texts, and trees that are written and read again.
