//! What a stream may need in memory at the most, for whoever decides how many streams there are.

use super::cut::{PLAIN_MAX, STORED_MAX};
use super::{Codec, Compression, Decompression, ZSTD_LEVEL_OF_SMALL_WINDOWS};

/// Chunks that wait before and behind a thread or a command, and the one that it has.
const CHUNKS: u64 = 6 << 20;

/// Vitess's zstd writers use windows of up to 8 MiB; a decoder keeps the window and a little more. Other writers may use
/// up to 512 MiB, which then comes on top.
const ZSTD_WINDOW: u64 = (8 << 20) + (1 << 20);

impl Compression {
    /// The most bytes that one stream of [`super::compress`] holds, its blocks of [`Compression::block_size`] included: of
    /// each of `parallel` blocks the plain bytes, a buffer for the compressed ones, the compressed ones, and what the
    /// compressor needs; and one more block that was read or is being handed over.
    pub fn stream_memory(&self, parallel: usize) -> u64 {
        self.stream_memory_with(parallel, self.block_size() as u64)
    }

    /// As [`Self::stream_memory`], for blocks of another size.
    pub fn stream_memory_with(&self, parallel: usize, block: u64) -> u64 {
        if self.codec == Codec::None || self.external_compressor.is_some() {
            return 2 * block + CHUNKS;
        }
        (parallel.max(1) as u64) * (3 * block + block / 8 + self.compressor_memory()) + 2 * block
    }

    /// Rounded up from zstd's own estimate at windows of the block's size, from libdeflate's and from ISA-L's structures.
    fn compressor_memory(&self) -> u64 {
        match (self.codec, self.level) {
            (Codec::Zstd, ..=ZSTD_LEVEL_OF_SMALL_WINDOWS) => 4 << 20,
            (Codec::Zstd, 5..=12) => 40 << 20,
            (Codec::Zstd, _) => 110 << 20,
            (Codec::Gzip(_), _) => 2 << 20,
            (Codec::Lz4 | Codec::None | Codec::External, _) => 1 << 20,
        }
    }
}

impl Decompression {
    /// The most bytes that one stream of [`super::decompress`] holds: `parallel` parts of up to 4 MiB, stored and plain, the
    /// part that is being read and the one that is being handed over; or what one thread needs. Chunks of stored bytes
    /// above 1 MiB come on top, and zstd windows above 8 MiB, which only other writers than Vitess and we use.
    pub fn stream_memory(&self, parallel: usize) -> u64 {
        let (plain, stored) = (PLAIN_MAX as u64, STORED_MAX as u64);
        let window = match self.codec {
            Codec::None | Codec::External => return CHUNKS,
            Codec::Zstd => ZSTD_WINDOW,
            // Blocks of 4 MiB, compressed and plain.
            Codec::Lz4 => 3 * plain,
            Codec::Gzip(_) => 1 << 20,
        };
        let in_parts = (parallel.max(1) as u64) * (plain + stored) + plain + 2 * stored;
        // The parts that were under way are still there when the thread takes over.
        in_parts + CHUNKS + window
    }
}
