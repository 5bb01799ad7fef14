//! One stream out of its stripes.
//!
//! The writer deals the uncompressed stream in blocks of exactly StripeBlockSize bytes to one stripe after the other; the
//! first block that is shorter, be it empty, is the end of all. Vitess's reader stops there and looks no further, so that a
//! stripe that was cut at the right place goes unnoticed; here whatever is left in any stripe is an error.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::engine::EngineError;

/// One object's decompressed bytes.
pub type Stripe<'a> = BoxStream<'a, Result<Bytes, EngineError>>;

/// The stripes' bytes in their order. `uneven` makes the error for a stripe, by its place, that has more than it may.
///
/// Holds no more than a chunk of each stripe.
pub fn gather<'a, F>(stripes: Vec<Stripe<'a>>, block: u64, uneven: F) -> Stripe<'a>
where
    F: Fn(usize) -> EngineError + Send + Sync + 'a,
{
    let stripes: Vec<_> = stripes.into_iter().map(|stream| Reader { stream, rest: Bytes::new() }).collect();
    let block = if stripes.len() > 1 { block } else { u64::MAX };
    let gather = Gather { stripes, block, left: block, at: 0, is_over: false };
    futures::stream::unfold((gather, uneven), |(mut gather, uneven)| async move {
        let next = gather.next(&uneven).await.transpose()?;
        gather.is_over |= next.is_err();
        Some((next, (gather, uneven)))
    })
    .boxed()
}

struct Reader<'a> {
    stream: Stripe<'a>,
    rest: Bytes,
}

impl Reader<'_> {
    /// Up to `most` bytes, none at the end.
    async fn read(&mut self, most: u64) -> Result<Bytes, EngineError> {
        while self.rest.is_empty() {
            match self.stream.next().await.transpose()? {
                Some(bytes) => self.rest = bytes,
                None => return Ok(Bytes::new()),
            }
        }
        let length = usize::try_from(most).unwrap_or(usize::MAX).min(self.rest.len());
        Ok(self.rest.split_to(length))
    }
}

struct Gather<'a> {
    stripes: Vec<Reader<'a>>,
    block: u64,
    /// Of the block that is being read.
    left: u64,
    at: usize,
    is_over: bool,
}

impl Gather<'_> {
    async fn next(&mut self, uneven: &(impl Fn(usize) -> EngineError + Sync)) -> Result<Option<Bytes>, EngineError> {
        if self.is_over {
            return Ok(None);
        }
        let Some(stripe) = self.stripes.get_mut(self.at) else { return Ok(None) };
        let bytes = stripe.read(self.left).await?;
        if bytes.is_empty() {
            self.is_over = true;
            for (place, stripe) in self.stripes.iter_mut().enumerate() {
                if !stripe.read(1).await?.is_empty() {
                    return Err(uneven(place));
                }
            }
            return Ok(None);
        }
        self.left -= bytes.len() as u64;
        if self.left == 0 {
            self.left = self.block;
            self.at = (self.at + 1) % self.stripes.len();
        }
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;
    use proptest::prelude::*;

    /// As Vitess's writer deals.
    fn dealt(file: &[u8], stripes: usize, block: usize) -> Vec<Vec<u8>> {
        let mut dealt = vec![Vec::new(); stripes];
        for (index, bytes) in file.chunks(block).enumerate() {
            dealt[index % stripes].extend_from_slice(bytes);
        }
        dealt
    }

    fn gathered(stripes: &[Vec<u8>], block: usize, chunk: usize) -> Result<Vec<u8>, String> {
        let streams = stripes.iter().map(|stripe| {
            let chunks: Vec<_> = stripe.chunks(chunk).map(|bytes| Ok(Bytes::copy_from_slice(bytes))).collect();
            futures::stream::iter(chunks).boxed()
        });
        let uneven = |place| EngineError::Internal(format!("stripe {place}"));
        let stream = gather(streams.collect(), block as u64, uneven);
        let collected = futures::executor::block_on(stream.try_collect::<Vec<Bytes>>());
        collected.map(|parts| parts.concat()).map_err(|error| error.to_string())
    }

    proptest! {
        #[test]
        fn what_was_dealt_is_gathered(
            file in prop::collection::vec(any::<u8>(), 0..300),
            stripes in 1_usize..7,
            block in 1_usize..40,
            chunk in 1_usize..50,
        ) {
            prop_assert_eq!(gathered(&dealt(&file, stripes, block), block, chunk), Ok(file));
        }

        #[test]
        fn a_stripe_that_lost_its_end_is_an_error_unless_it_was_the_last_block(
            file in prop::collection::vec(any::<u8>(), 1..300),
            stripes in 2_usize..5,
            block in 1_usize..20,
            which in any::<prop::sample::Index>(),
        ) {
            let mut dealt = dealt(&file, stripes, block);
            let which = which.index(stripes);
            let Some(_) = dealt[which].pop() else { return Ok(()) };
            let blocks = file.len().div_ceil(block);
            match gathered(&dealt, block, 7) {
                // Nobody can tell a shorter file from a last block that lost its end.
                Ok(shorter) => prop_assert!(which == (blocks - 1) % stripes && file.starts_with(&shorter)),
                Err(error) => prop_assert!(error.starts_with("stripe "), "{}", error),
            }
        }
    }

    #[test]
    fn a_stripe_that_has_too_much_is_named() {
        let stripes = [b"aa".to_vec(), b"bb".to_vec(), b"ccx".to_vec()];
        assert_eq!(gathered(&stripes, 2, 1), Err("stripe 2".to_owned()));
    }

    #[test]
    fn a_stripe_that_cannot_be_read_ends_the_stream() {
        let broken = futures::stream::iter([Ok(Bytes::from_static(b"a")), Err(EngineError::invalid("gone"))]).boxed();
        let whole = futures::stream::iter([Ok(Bytes::from_static(b"b"))]).boxed();
        let stream = gather(vec![broken, whole], 1, |place| EngineError::Internal(place.to_string()));
        let all: Vec<_> =
            futures::executor::block_on(stream.map(|item| item.map_err(|error| error.to_string())).collect());
        assert_eq!(all.last(), Some(&Err("gone".to_owned())));
        assert_eq!(all.len(), 3);
    }
}
