//! New inputs from old ones, the same for the same seed.

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

pub const INPUT_BYTES_MAX: usize = 64 * 1024;
const CHANGES_MAX: usize = 8;
const REPEATS_MAX: usize = 2000;

/// What parsers of requests stumble over.
const WORDS: &[&[u8]] = &[
    b"&",
    b"=",
    b".",
    b"%",
    b"%00",
    b"%zz",
    b"%e2%98%83",
    b"+",
    b"/",
    b"//",
    b"/../",
    b"?",
    b";",
    b":",
    b",",
    b" ",
    b"\t",
    b"\r\n",
    b"\n\n",
    b"\0",
    b"\xff",
    b"\xc3\x28",
    b"0",
    b"-1",
    b"4294967296",
    b"18446744073709551616",
    b"1e999",
    b".1.",
    b".0",
    b".999999999",
    b"=true",
    b"Action=",
    b"Version=2016-11-15",
    b"AWS4-HMAC-SHA256",
    b"Credential=",
    b"SignedHeaders=",
    b"Signature=",
    b"X-Amz-Date",
    b"X-Amz-Expires=",
    b"20200101T000000Z",
    b"Authorization:",
    b"host:",
    b"2009-04-04",
    b"latest",
    b"meta-data",
    b"GET ",
    b"PUT ",
    b"\r\n--",
    b";chunk-signature=",
    b"x-amz-trailer-signature:",
    b"Content-Disposition: form-data; name=\"file\"",
    b"${filename}",
    b"[\"eq\", \"$key\", \"\"]",
];

/// A change or several of one of `corpus`.
pub fn mutate(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = pick(corpus, random).to_vec();
    for _ in 0..=random.below(CHANGES_MAX) {
        change(&mut input, corpus, random);
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn pick<'a>(corpus: &'a [Vec<u8>], random: &mut Random) -> &'a [u8] {
    corpus.get(random.below(corpus.len())).map_or(&[], Vec::as_slice)
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = at + random.below(input.len() - at + 1);
    match random.below(8) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.next() as u8,
        2 => drop(input.drain(at..end)),
        3 => drop(input.splice(at..at, WORDS[random.below(WORDS.len())].iter().copied())),
        4 => drop(input.splice(at..end, WORDS[random.below(WORDS.len())].iter().copied())),
        5 => {
            let other = pick(corpus, random);
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        6 => {
            let piece = input[at..end.min(at + 64)].to_vec();
            let times = if random.below(50) == 0 { REPEATS_MAX } else { 3 };
            input.splice(at..at, piece.repeat(random.below(times)));
        }
        _ => {
            let number = (random.next() >> random.below(64)).to_string();
            input.splice(at..at, number.into_bytes());
        }
    }
    input.truncate(INPUT_BYTES_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_again_and_another_seed_gives_others() {
        let corpus = vec![b"Action=RunInstances&MinCount=1".to_vec(), Vec::new()];
        let inputs = |seed| {
            let mut random = Random::new(seed);
            (0..500).map(|_| mutate(&corpus, &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        assert!(inputs(1).iter().all(|input| input.len() <= INPUT_BYTES_MAX));
        assert!(mutate(&[], &mut Random::new(1)).len() <= INPUT_BYTES_MAX);
    }
}
