//! What `deny.toml` bans is not in `Cargo.lock`: the part of cargo-deny that needs no cargo-deny.

const BANS: &str = include_str!("../deny.toml");
const LOCK: &str = include_str!("../Cargo.lock");

/// The crates of `deny = [{ crate = "…" }, …]`.
fn banned(bans: &str) -> Vec<&str> {
    bans.lines().filter_map(|line| line.trim().strip_prefix("{ crate = \"")?.split('"').next()).collect()
}

/// The crates of `banned` that the lock file names as packages.
fn locked<'a>(lock: &str, banned: &[&'a str]) -> Vec<&'a str> {
    let is_locked = |name: &&str| lock.lines().any(|line| line == format!("name = \"{name}\""));
    banned.iter().copied().filter(is_locked).collect()
}

#[test]
fn no_banned_crate_is_locked() {
    let banned = banned(BANS);
    assert!(banned.contains(&"openssl-sys") && banned.contains(&"aws-lc-sys"), "the bans were not read: {banned:?}");
    assert_eq!(locked(LOCK, &banned), [""; 0]);
}

#[test]
fn a_banned_crate_in_the_lock_file_is_found() {
    let lock = "[[package]]\nname = \"openssl-probe\"\n\n[[package]]\nname = \"openssl-sys\"\n";
    assert_eq!(locked(lock, &banned(BANS)), ["openssl-sys"]);
}
