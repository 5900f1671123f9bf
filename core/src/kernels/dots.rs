//! Products of the 8-bit integers of sixteen keys with a query's, added up exactly.

use super::args::CacheRef;
use super::lanes::{Lanes, Registers};
use crate::math::{LANES, Sixteen};

/// Four elements of each of sixteen keys, as a cache of integers has them.
pub(super) type KeyWords = [[i8; CacheRef::WORD]; LANES];

/// How an instruction set multiplies keys of integers, a position to a lane.
///
/// Sums stay below 2^31 and come out as they are, whatever the order of additions. The methods are
/// called only from functions compiled with the set's CPU features.
pub(super) trait Dots {
    /// Sixteen sums.
    type Sums: Copy;
    /// Key words in the form that [`Dots::add`] takes, which several queries share.
    type Keys: Copy;
    /// Sixteen floats.
    type Floats: Lanes;

    /// Sums of no products yet, for integers of a query that add up to `total`.
    fn start(total: i32) -> Self::Sums;
    fn keys(from: &KeyWords) -> Self::Keys;
    /// Adds the products of each key's four elements, any bytes, with the query's: the bytes of
    /// `query` as they lie in memory, −127..=127.
    fn add(sums: Self::Sums, keys: Self::Keys, query: i32) -> Self::Sums;
    /// The sums as floats, once all of the query's integers have gone in.
    fn floats(sums: Self::Sums) -> Self::Floats;
}

/// One product after another, for CPUs without dot products and for compilers to vectorize.
pub(super) struct OneByOne;

impl Dots for OneByOne {
    type Sums = [i32; LANES];
    type Keys = KeyWords;
    type Floats = Registers<f32, LANES>;

    #[inline(always)]
    fn start(_: i32) -> [i32; LANES] {
        [0; LANES]
    }
    #[inline(always)]
    fn keys(from: &KeyWords) -> KeyWords {
        *from
    }
    #[inline(always)]
    fn add(mut sums: [i32; LANES], keys: KeyWords, query: i32) -> [i32; LANES] {
        let query = query.to_ne_bytes();
        for (sum, key) in sums.iter_mut().zip(&keys) {
            for (&k, q) in key.iter().zip(query) {
                *sum += i32::from(k) * i32::from(q as i8);
            }
        }
        sums
    }
    #[inline(always)]
    fn floats(sums: [i32; LANES]) -> Registers<f32, LANES> {
        let mut floats = [0.0; LANES];
        for (float, sum) in floats.iter_mut().zip(sums) {
            *float = sum as f32;
        }
        Sixteen::load(&floats)
    }
}
