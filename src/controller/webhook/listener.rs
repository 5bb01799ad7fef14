//! TLS in front of axum.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::Resolver;

/// How long a client may take to say hello.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
const WAITING: usize = 16;

type Accepted = (TlsStream<TcpStream>, SocketAddr);

/// Connections whose handshake is done. Handshakes go on beside each other: one slow client keeps nobody out.
pub struct TlsListener {
    accepted: mpsc::Receiver<Accepted>,
    address: SocketAddr,
    accepting: tokio::task::JoinHandle<()>,
}

impl TlsListener {
    /// # Errors
    /// When the socket has no address.
    pub fn new(tcp: TcpListener, resolver: Arc<Resolver>) -> io::Result<Self> {
        let config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let address = tcp.local_addr()?;
        let (sender, accepted) = mpsc::channel(WAITING);
        Ok(Self { accepted, address, accepting: tokio::spawn(accept(tcp, acceptor, sender)) })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(tcp: TcpListener, acceptor: TlsAcceptor, sender: mpsc::Sender<Accepted>) {
    loop {
        let (stream, address) = match tcp.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: not to be tried again at once.
                tracing::warn!(%error, "cannot accept a connection to the webhook");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => drop(sender.send((stream, address)).await),
                // A port scan and a health check of a load balancer look so.
                Ok(Err(error)) => tracing::debug!(%error, %address, "no TLS"),
                Err(_) => tracing::debug!(%address, "no TLS in time"),
            }
        });
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Accepted {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // Its other end lives as long as this does.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
