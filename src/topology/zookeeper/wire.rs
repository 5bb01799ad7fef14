//! ZooKeeper's own protocol, as far as Vitess's records need it: one session, one call at a time, no watches.
//!
//! Source: ZooKeeper's `zookeeper.jute` and `ZooDefs`. The client crate that is kept pulls in an async runtime of its own and
//! a TLS that this project does not use, for seven calls.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::TITLE;
use crate::topology::access::{Access, Endpoint};
use crate::topology::connect::{Connection, connect, explain};
use crate::topology::error::TopologyError;

const CREATE: i32 = 1;
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const SYNC: i32 = 9;
const GET_CHILDREN_2: i32 = 12;
const AUTH: i32 = 100;
const AUTH_XID: i32 = -4;
const WATCH_XID: i32 = -1;
const PING_XID: i32 = -2;

const NO_NODE: i32 = -101;
const NO_AUTH: i32 = -102;
const BAD_VERSION: i32 = -103;
const NODE_EXISTS: i32 = -110;
const AUTH_FAILED: i32 = -115;

const SESSION_MILLISECONDS: i32 = 30_000;
const LONGEST_ANSWER: usize = 256 << 20;
/// Everybody may do everything, as Vitess makes its znodes.
const ALL_RIGHTS: i32 = 31;

/// `Stat`, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    pub version: i32,
    pub ephemeral_owner: i64,
    pub children: i32,
}

/// A session.
pub struct Client {
    connection: Box<dyn Connection>,
    endpoint: String,
    stall: Duration,
    xid: i32,
}

/// What a call gave: its error code, and what follows the header.
type Answer = (i32, Vec<u8>);

impl Client {
    /// Begins a session, and says who asks when there is a user.
    ///
    /// # Errors
    /// As [`TopologyError`] tells them apart. A server that has no leader closes the connection.
    pub async fn connect(access: &Access, endpoint: &Endpoint) -> Result<Self, TopologyError> {
        let connection = connect(TITLE, access, endpoint, b"").await?;
        let mut client = Self { connection, endpoint: endpoint.to_string(), stall: access.stall, xid: 0 };
        let mut request = Writer::default();
        request.int(0).long(0).int(SESSION_MILLISECONDS).long(0).bytes(&[0; 16]).bool(false);
        let greeted = async {
            client.send(request.done()).await?;
            client.receive().await
        };
        match greeted.await {
            Ok(_) => {}
            Err(TopologyError::Unreachable { cause, .. }) => {
                return Err(Self::no_session(access, endpoint, cause).await);
            }
            Err(error) => return Err(error),
        }
        if let Some((name, password)) = &access.credentials.user {
            client.log_in(name, password).await?;
        }
        Ok(client)
    }

    /// Why a server that listens gave no session: it asks for TLS, or it has nobody to ask itself.
    async fn no_session(access: &Access, endpoint: &Endpoint, cause: String) -> TopologyError {
        let explained = explain(TITLE, access, endpoint, cause).await;
        let TopologyError::Unreachable { cause, .. } = explained else { return explained };
        match status(access, endpoint).await {
            Some(status) if status.contains("not currently serving requests") => TopologyError::NoQuorum {
                server: TITLE,
                endpoint: endpoint.to_string(),
                cause: status.trim().to_owned(),
            },
            _ => TopologyError::Unreachable { server: TITLE, endpoint: endpoint.to_string(), cause },
        }
    }

    async fn log_in(&mut self, name: &str, password: &str) -> Result<(), TopologyError> {
        let mut request = Writer::default();
        request.int(AUTH_XID).int(AUTH).int(0).bytes(b"digest").bytes(format!("{name}:{password}").as_bytes());
        self.send(request.done()).await?;
        match self.answer_to(AUTH_XID).await? {
            (0, _) => Ok(()),
            (code, _) => Err(self.failed("log in", code)),
        }
    }

    /// The names below `path` in ascending order; `None` when it is not there.
    pub async fn children(&mut self, path: &str) -> Result<Option<(Vec<String>, Stat)>, TopologyError> {
        let mut request = Writer::default();
        request.bytes(path.as_bytes()).bool(false);
        match self.call(GET_CHILDREN_2, &request).await? {
            (0, body) => {
                let read = |reader: &mut Reader<'_>| {
                    let count = reader.int()?;
                    let mut names = Vec::new();
                    for _ in 0..count {
                        names.push(String::from_utf8_lossy(reader.bytes()?).into_owned());
                    }
                    names.sort_unstable();
                    Some((names, reader.stat()?))
                };
                self.read("list znodes", &body, read).map(Some)
            }
            (NO_NODE, _) => Ok(None),
            (code, _) => Err(self.failed("list znodes", code)),
        }
    }

    /// What `path` holds; `None` when it is not there.
    pub async fn data(&mut self, path: &str) -> Result<Option<(Vec<u8>, Stat)>, TopologyError> {
        let mut request = Writer::default();
        request.bytes(path.as_bytes()).bool(false);
        match self.call(GET_DATA, &request).await? {
            (0, body) => {
                let read = |reader: &mut Reader<'_>| Some((reader.bytes()?.to_vec(), reader.stat()?));
                self.read("read a znode", &body, read).map(Some)
            }
            (NO_NODE, _) => Ok(None),
            (code, _) => Err(self.failed("read a znode", code)),
        }
    }

    /// Waits until this server has all that the leader has, so that nothing older is read.
    pub async fn sync(&mut self, path: &str) -> Result<(), TopologyError> {
        let mut request = Writer::default();
        request.bytes(path.as_bytes());
        match self.call(SYNC, &request).await? {
            (0 | NO_NODE, _) => Ok(()),
            (code, _) => Err(self.failed("catch up with its leader", code)),
        }
    }

    /// Replaces what `path` holds when it is of this version; whether it was.
    pub async fn set(&mut self, path: &str, value: &[u8], version: i32) -> Result<bool, TopologyError> {
        let mut request = Writer::default();
        request.bytes(path.as_bytes()).bytes(value).int(version);
        match self.call(SET_DATA, &request).await? {
            (0, _) => Ok(true),
            (BAD_VERSION | NO_NODE, _) => Ok(false),
            (code, _) => Err(self.failed("write a znode", code)),
        }
    }

    /// Makes `path` and what is missing above it; false when it is there already. What is there is not asked for: who may
    /// write below it need not have the right to make it.
    pub async fn create_with_parents(&mut self, path: &str, value: &[u8]) -> Result<bool, TopologyError> {
        if let Some(made) = self.create(path, value).await? {
            return Ok(made);
        }
        let mut missing = Vec::new();
        for (at, _) in path.match_indices('/').skip(1).collect::<Vec<_>>().into_iter().rev() {
            if self.create(&path[..at], b"").await?.is_some() {
                break;
            }
            missing.push(at);
        }
        for at in missing.into_iter().rev() {
            self.create(&path[..at], b"").await?;
        }
        Ok(self.create(path, value).await?.unwrap_or(false))
    }

    /// `None`: what is above it is missing.
    async fn create(&mut self, path: &str, value: &[u8]) -> Result<Option<bool>, TopologyError> {
        let mut request = Writer::default();
        request.bytes(path.as_bytes()).bytes(value);
        request.int(1).int(ALL_RIGHTS).bytes(b"world").bytes(b"anyone");
        request.int(0);
        match self.call(CREATE, &request).await? {
            (0, _) => Ok(Some(true)),
            (NODE_EXISTS, _) => Ok(Some(false)),
            (NO_NODE, _) => Ok(None),
            (code, _) => Err(self.failed("make a znode", code)),
        }
    }

    async fn call(&mut self, operation: i32, body: &Writer) -> Result<Answer, TopologyError> {
        self.xid += 1;
        let xid = self.xid;
        let mut request = Writer::default();
        request.int(xid).int(operation).raw(&body.0);
        self.send(request.done()).await?;
        self.answer_to(xid).await
    }

    async fn answer_to(&mut self, xid: i32) -> Result<Answer, TopologyError> {
        loop {
            let packet = self.receive().await?;
            let read = |reader: &mut Reader<'_>| {
                let (xid, _zxid, code) = (reader.int()?, reader.long()?, reader.int()?);
                Some((xid, code, reader.rest().to_vec()))
            };
            let (found, code, body) = self.read("answer", &packet, read)?;
            match found {
                found if found == xid => return Ok((code, body)),
                WATCH_XID | PING_XID => {}
                _ => return Err(self.garbled("answer")),
            }
        }
    }

    fn read<T>(
        &self,
        call: &'static str,
        body: &[u8],
        read: impl Fn(&mut Reader<'_>) -> Option<T>,
    ) -> Result<T, TopologyError> {
        read(&mut Reader(body)).ok_or_else(|| self.garbled(call))
    }

    fn garbled(&self, call: &'static str) -> TopologyError {
        let cause = "its answer cannot be understood".to_owned();
        TopologyError::Failed { server: TITLE, endpoint: self.endpoint.clone(), call, cause }
    }

    fn failed(&self, call: &'static str, code: i32) -> TopologyError {
        let (server, endpoint) = (TITLE, self.endpoint.clone());
        match code {
            AUTH_FAILED => TopologyError::Denied { server, endpoint, cause: "authentication failed".to_owned() },
            NO_AUTH => TopologyError::Denied { server, endpoint, cause: format!("no right to {call}") },
            code => TopologyError::Failed { server, endpoint, call, cause: format!("error code {code}") },
        }
    }

    fn lost(&self, cause: String) -> TopologyError {
        TopologyError::Unreachable { server: TITLE, endpoint: self.endpoint.clone(), cause }
    }

    async fn send(&mut self, packet: Vec<u8>) -> Result<(), TopologyError> {
        let sent = timeout(self.stall, async {
            self.connection.write_all(&packet).await?;
            self.connection.flush().await
        });
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.lost(error.to_string())),
            Err(_) => Err(self.lost("it takes nothing more".to_owned())),
        }
    }

    async fn receive(&mut self) -> Result<Vec<u8>, TopologyError> {
        let received = timeout(self.stall, async {
            let length = usize::try_from(self.connection.read_i32().await?).unwrap_or(usize::MAX);
            if length > LONGEST_ANSWER {
                return Err(std::io::Error::other("it does not speak ZooKeeper's protocol"));
            }
            let mut packet = vec![0; length];
            self.connection.read_exact(&mut packet).await?;
            Ok(packet)
        });
        match received.await {
            Ok(Ok(packet)) => Ok(packet),
            Ok(Err(error)) => Err(self.lost(error.to_string())),
            Err(_) => Err(self.lost(format!("no answer within {} s", self.stall.as_secs()))),
        }
    }
}

/// What the server says of itself to the four-letter word `srvr`, which every server answers.
pub async fn status(access: &Access, endpoint: &Endpoint) -> Option<String> {
    let mut connection = connect(TITLE, access, endpoint, b"").await.ok()?;
    connection.write_all(b"srvr").await.ok()?;
    let mut text = Vec::new();
    timeout(access.connect_timeout, connection.read_to_end(&mut text)).await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Jute's binary form: big-endian, texts and buffers behind their length.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn int(&mut self, value: i32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    fn long(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    fn bool(&mut self, value: bool) -> &mut Self {
        self.raw(&[u8::from(value)])
    }

    fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.int(i32::try_from(value.len()).unwrap_or(i32::MAX)).raw(value)
    }

    fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }

    /// The packet: its length first.
    fn done(&self) -> Vec<u8> {
        let mut packet = Self::default();
        packet.bytes(&self.0);
        packet.0
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn int(&mut self) -> Option<i32> {
        self.take(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    fn long(&mut self) -> Option<i64> {
        self.take(8)?.try_into().ok().map(i64::from_be_bytes)
    }

    /// A length of -1 is Java's null: nothing.
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.int()?).unwrap_or(0);
        self.take(length)
    }

    fn stat(&mut self) -> Option<Stat> {
        // czxid, mzxid, ctime, mtime
        self.take(32)?;
        let version = self.int()?;
        // cversion, aversion
        self.take(8)?;
        let ephemeral_owner = self.long()?;
        // dataLength
        self.take(4)?;
        let children = self.int()?;
        self.take(8)?;
        Some(Stat { version, ephemeral_owner, children })
    }

    fn rest(&self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_as_jute_has_them() {
        let mut request = Writer::default();
        request.int(1).int(GET_DATA).bytes(b"/a").bool(false);
        assert_eq!(request.done(), b"\0\0\0\x0f\0\0\0\x01\0\0\0\x04\0\0\0\x02/a\0");
        let mut reader = Reader(b"\xff\xff\xff\xff\0\0\0\x01x");
        assert_eq!((reader.bytes(), reader.bytes(), reader.int()), (Some(&b""[..]), Some(&b"x"[..]), None));
    }

    #[test]
    fn a_stat_tells_version_owner_and_children() {
        let mut stat = Writer::default();
        stat.long(1).long(2).long(3).long(4).int(5).int(6).int(7).long(8).int(9).int(10).long(11);
        let expected = Stat { version: 5, ephemeral_owner: 8, children: 10 };
        assert_eq!(Reader(&stat.0).stat(), Some(expected));
        assert_eq!(Reader(&stat.0[..67]).stat(), None);
    }
}
