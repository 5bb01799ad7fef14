//! etcd: the database, followed by the SHA-256 of it (source: etcd's `snapshotSender`, and `etcdutl snapshot status`).

use sha2::{Digest, Sha256};

use super::{Check, HeldBack, Learned};

const HASH: usize = 32;
/// A database is whole pages, so that what is left over tells whether there is a hash.
const SECTOR: u64 = 512;

/// A `snapshot.db` as `etcdctl snapshot save` writes it.
#[derive(Default)]
pub struct EtcdDatabase {
    hash: Sha256,
    held: HeldBack<HASH>,
    length: u64,
}

impl Check for EtcdDatabase {
    fn take(&mut self, chunk: &[u8]) -> Result<(), String> {
        self.length += chunk.len() as u64;
        let hash = &mut self.hash;
        self.held.push(chunk, |bytes| hash.update(bytes));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Learned, String> {
        let Self { hash, held, length } = *self;
        let Some(expected) = held.last().filter(|_| length % SECTOR == HASH as u64 && length > HASH as u64) else {
            return Err(format!("it ends after {length} bytes, without the hash that etcd puts at its end"));
        };
        let found: [u8; HASH] = hash.finalize().into();
        if found == expected {
            Ok(Learned::default())
        } else {
            Err("its bytes do not have the SHA-256 that stands at its end".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(stored: &[u8]) -> Result<Learned, String> {
        let mut check = Box::<EtcdDatabase>::default();
        for chunk in stored.chunks(700) {
            check.take(chunk)?;
        }
        check.finish()
    }

    #[test]
    fn a_whole_database_passes_and_one_that_is_cut_or_changed_anywhere_does_not() {
        let database = vec![7_u8; 4096];
        let whole = [database.as_slice(), &Sha256::digest(&database)].concat();
        assert_eq!(verdict(&whole), Ok(Learned::default()));
        for length in [0, 31, 32, 512, 4096, 4127] {
            assert!(verdict(&whole[..length]).unwrap_err().contains("without the hash"), "{length}");
        }
        for at in [0, 2000, 4095, 4096, 4127] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(verdict(&changed).unwrap_err().contains("SHA-256"), "{at}");
        }
    }
}
