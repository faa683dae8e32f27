//! Making inputs out of inputs.
//!
//! **Invariant:** what is made depends on the seed, the target's name and the inputs, and on nothing else.

/// Numbers that lengths, counts and offsets go wrong at.
const ODD: [u64; 14] =
    [0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000, 0x7fff_ffff_ffff_ffff, u64::MAX];

/// Words that parsers of text know.
const WORDS: [&str; 24] = [
    "[",
    "]",
    "{",
    "}",
    "\"",
    "\\u0000",
    "[]",
    "[0]",
    "[<=",
    "string",
    "float64[36] ",
    "uint8[]",
    "Header header\n",
    "sequence<",
    "struct ",
    "module ",
    ";",
    "\n================\nMSG: a/B\n",
    "null",
    "1e400",
    "-0",
    "\"$ref\":\"#\"",
    "NaN",
    "\0",
];

/// Makes inputs.
pub(crate) struct Mutator {
    state: u64,
}

impl Mutator {
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        let state = name.bytes().fold(seed ^ 0x9e37_79b9_7f4a_7c15, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        Self { state: state | 1 }
    }

    /// Returns an input made of one or two of a corpus that is not empty.
    pub(crate) fn make(&mut self, corpus: &[Vec<u8>], limit: usize) -> Vec<u8> {
        // What was kept last is the most promising.
        let index = if self.one_in(3) { corpus.len() - 1 - self.below(corpus.len().min(32)) } else { self.below(corpus.len()) };
        let mut input = corpus[index].clone();
        for _ in 0..1 << self.below(5) {
            self.change(&mut input, corpus);
        }
        input.truncate(limit);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        match self.below(12) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.next() as u8,
            2 if at < input.len() => input[at] = input[at].wrapping_add(self.below(35) as u8).wrapping_sub(17),
            3 | 4 => {
                let odd = ODD[self.below(ODD.len())].wrapping_add(self.below(3) as u64).wrapping_sub(1);
                self.overwrite(input, at, odd);
            }
            5 => {
                // A length that fits: how much is left from here.
                let left = ((input.len() - at) as u64).saturating_sub(self.below(9) as u64);
                self.overwrite(input, at, left);
            }
            6 => input.truncate(at),
            7 => {
                let range = self.range(input.len());
                input.drain(range);
            }
            8 => {
                let part = input[self.range(input.len())].to_vec();
                input.splice(at..at, part);
            }
            9 => {
                let other = &corpus[self.below(corpus.len())];
                let part = other[self.range(other.len())].to_vec();
                let end = if self.one_in(2) { at } else { (at + part.len()).min(input.len()) };
                input.splice(at..end, part);
            }
            10 => {
                let word = WORDS[self.below(WORDS.len())].bytes();
                input.splice(at..at, word);
            }
            _ => {
                let count = self.below(16);
                let bytes: Vec<u8> = (0..count).map(|_| self.next() as u8).collect();
                input.splice(at..at, bytes);
            }
        }
    }

    /// Writes a number over what stands at a place, in one of the ways numbers are written.
    fn overwrite(&mut self, input: &mut [u8], at: usize, number: u64) {
        let width = 1 << self.below(4);
        let mut bytes = number.to_le_bytes();
        if self.one_in(4) {
            bytes[..width].reverse();
        }
        let end = (at + width).min(input.len());
        input[at..end].copy_from_slice(&bytes[..end - at]);
    }

    /// Returns a part of so many bytes, mostly a short one.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.one_in(4) { length } else { 64 };
        start..start + self.below((length - start).min(most) + 1)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// Xorshift, which is plenty for this.
    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
