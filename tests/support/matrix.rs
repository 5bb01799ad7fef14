//! How much of a matrix is run: all of it in `make test-all` (`VBO_MATRIX=whole`), what is drawn in `make test`.

#![allow(dead_code, reason = "not every program draws")]

/// Whether every case of a matrix is asked for.
pub fn is_whole() -> bool {
    std::env::var("VBO_MATRIX").is_ok_and(|matrix| matrix == "whole")
}

/// What a draw is made by: `VBO_SEED`, or chance. It is printed, so that the draw can be made again.
///
/// # Panics
/// When `VBO_SEED` is no number.
pub fn seed() -> u64 {
    let seed =
        std::env::var("VBO_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().expect("VBO_SEED is a number"));
    println!("VBO_SEED={seed}");
    seed
}
