//! Between a client and a server: passes bytes on, until so many came from the server; then something happens.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

pub struct Proxy {
    pub address: String,
}

impl Proxy {
    /// After `limit` bytes of an answer `at_limit` is called, and the connection is cut.
    pub fn start(server: &str, limit: usize, at_limit: impl Fn() + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (server, at_limit) = (server.to_owned(), Arc::new(at_limit));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(upstream) = TcpStream::connect(&server) else { continue };
                let (from_client, to_server) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                std::thread::spawn(move || pass(from_client, to_server, usize::MAX, &|| {}));
                let at_limit = Arc::clone(&at_limit);
                std::thread::spawn(move || pass(upstream, client, limit, &*at_limit));
            }
        });
        Self { address }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, limit: usize, at_limit: &dyn Fn()) {
    let (mut passed, mut buffer) = (0, [0; 8192]);
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            break;
        }
        passed += read;
        if passed >= limit {
            at_limit();
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
