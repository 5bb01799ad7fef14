//! Local files, large and read or written once from begin to end: the data directory's as well as a file storage's.

use std::fs::File;
use std::io;
use std::num::NonZero;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, fadvise};
use rustix::io::{read, retry_on_intr};

/// Has the kernel read further ahead. mysqld reads and writes around the page cache, so that the files of a tablet are
/// hardly ever in memory.
pub fn read_from_begin_to_end(file: &File) {
    advise(file, 0, 0, Advice::Sequential);
}

/// These bytes will be read next.
pub fn read_ahead(file: &File, offset: u64, length: usize) {
    advise(file, offset, length as u64, Advice::WillNeed);
}

/// These bytes are not read again: they need not stay in the page cache. 0: to the end of the file.
pub fn leave_behind(file: &File, offset: u64, length: usize) {
    advise(file, offset, length as u64, Advice::DontNeed);
}

/// An advice, and no more: a file system that takes none is none the worse.
fn advise(file: &File, offset: u64, length: u64, advice: Advice) {
    let _ = fadvise(file, offset, NonZero::new(length), advice);
}

/// The next `size` bytes, fewer only at the end of the file; in one call to the kernel where that can be.
///
/// # Errors
/// What the kernel says.
pub fn read_block(file: &File, size: usize) -> io::Result<Bytes> {
    let mut block = Vec::with_capacity(size);
    while block.len() < size {
        if retry_on_intr(|| read(file, spare_capacity(&mut block)))? == 0 {
            break;
        }
    }
    Ok(block.into())
}

/// How much is written before the disk shall begin with it, in bytes.
const SHARE: u64 = 8 << 20;

/// Has the disk write while there is more to come. Otherwise the kernel gathers what is written for half a minute or up to
/// a tenth of the memory, the disk idles, and the sync at the file's end waits for all of it at once. The page cache is
/// free afterwards: nobody reads these files through it soon.
#[derive(Debug, Default)]
pub struct ToDisk {
    /// Up to where the disk has been told.
    told: u64,
}

impl ToDisk {
    /// The file has been written up to there.
    pub fn written_up_to(&mut self, file: &File, end: u64) {
        let share = end.saturating_sub(self.told);
        if share >= SHARE {
            // Of dirty pages "don't need" means: write them out, and do not wait.
            advise(file, self.told, share, Advice::DontNeed);
            self.told = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_block_is_whole_unless_the_file_ends() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"seven77").unwrap();
        let file = file.reopen().unwrap();
        let blocks: Vec<Bytes> = (0..4).map(|_| read_block(&file, 3).unwrap()).collect();
        assert_eq!(blocks, ["sev", "en7", "7", ""]);
    }

    #[test]
    fn a_directory_is_no_file() {
        let directory = File::open(std::env::temp_dir()).unwrap();
        assert_eq!(read_block(&directory, 3).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn the_disk_is_told_share_by_share_and_the_bytes_stay() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut to_disk = ToDisk::default();
        let (mut end, mut told) = (0, Vec::new());
        for part in 1..=4_u8 {
            file.write_all(&vec![part; 3 << 20]).unwrap();
            end += 3 << 20;
            to_disk.written_up_to(file.as_file(), end);
            told.push(to_disk.told >> 20);
        }
        to_disk.written_up_to(file.as_file(), 0);
        assert_eq!((told, to_disk.told >> 20), (vec![0, 0, 9, 9], 9));
        let read = std::fs::read(file.path()).unwrap();
        assert_eq!(read.len(), 12 << 20);
        assert!(read.chunks(3 << 20).zip(1..).all(|(chunk, part)| chunk.iter().all(|&byte| byte == part)));
    }
}
