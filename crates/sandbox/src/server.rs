//! Listeners and connections: TLS with a certificate from the sandbox's own CA, HTTP/1.1 and HTTP/2, and doors that can
//! be shut to refuse connections.
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::settings::NetSettings;

/// A complete body, as nearly all are, or one that a fault generates as it goes.
pub(crate) type Body = Either<Full<Bytes>, UnsyncBoxBody<Bytes, io::Error>>;
pub(crate) type Reply = Response<Body>;

/// Closes the connection instead of replying.
#[derive(Debug)]
pub(crate) struct HangUp;

impl std::fmt::Display for HangUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hung up")
    }
}

impl std::error::Error for HangUp {}

pub(crate) fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(body.into())));
    *reply.status_mut() = status;
    with_header(&mut reply, CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    reply(status, "application/json; charset=utf-8", body)
}

pub(crate) fn with_header(reply: &mut Reply, name: HeaderName, value: HeaderValue) {
    reply.headers_mut().insert(name, value);
}

/// A CA created for this run, and the server configuration with the one certificate that it signed.
pub(crate) struct Authority {
    pub pem: String,
    tls: Arc<ServerConfig>,
    streams: u32,
}

impl Authority {
    pub(crate) fn new(net: &NetSettings) -> io::Result<Self> {
        let authority_key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "azure-incremental sandbox");
        let certificate = params.self_signed(&authority_key).map_err(io::Error::other)?;
        let issuer = Issuer::new(params, authority_key);

        let key = KeyPair::generate().map_err(io::Error::other)?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut leaf = CertificateParams::new(names).map_err(io::Error::other)?;
        leaf.distinguished_name.push(DnType::CommonName, "localhost");
        leaf.not_before = date_time_ymd(net.certificate_years.start, 1, 1);
        leaf.not_after = date_time_ymd(net.certificate_years.end, 1, 1);
        leaf.use_authority_key_identifier_extension = true;
        let leaf = leaf.signed_by(&key, &issuer).map_err(io::Error::other)?;

        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .map_err(io::Error::other)?;
        tls.alpn_protocols =
            if net.http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
        Ok(Self { pem: certificate.pem(), tls: Arc::new(tls), streams: net.streams })
    }
}

/// One origin: a listener with its connections, closed when dropped.
pub(crate) struct Door {
    address: SocketAddr,
    wanted: watch::Sender<bool>,
    is_open: watch::Receiver<bool>,
    connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Door {
    pub(crate) fn open<H, F>(runtime: &Handle, port: u16, authority: &Authority, handler: H) -> io::Result<Self>
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Reply, HangUp>> + Send + 'static,
    {
        let listener = {
            // A listener belongs to the runtime that it is created in.
            let _in_runtime = runtime.enter();
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)?
        };
        let address = listener.local_addr()?;
        let (wanted, wish) = watch::channel(true);
        let (opened, is_open) = watch::channel(true);
        let connections = Arc::new(AtomicU64::new(0));
        let acceptor = TlsAcceptor::from(authority.tls.clone());
        let gate = Gate { address, acceptor, streams: authority.streams, handler, connections: connections.clone() };
        let task = runtime.spawn(gate.serve(listener, wish, opened));
        Ok(Self { address, wanted, is_open, connections, task })
    }

    /// `https://127.0.0.1:port`.
    pub(crate) fn origin(&self) -> String {
        format!("https://{}", self.address)
    }

    /// How many connections were accepted so far.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Cuts all connections and refuses new ones, or listens again on the same port. Returns once done.
    pub(crate) async fn set_open(&self, open: bool) {
        let _ = self.wanted.send(open);
        let _ = self.is_open.clone().wait_for(|is| *is == open).await;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Gate<H> {
    address: SocketAddr,
    acceptor: TlsAcceptor,
    streams: u32,
    handler: H,
    connections: Arc<AtomicU64>,
}

impl<H, F> Gate<H>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Reply, HangUp>> + Send + 'static,
{
    async fn serve(self, listener: TcpListener, mut wish: watch::Receiver<bool>, opened: watch::Sender<bool>) {
        let mut listener = Some(listener);
        let mut kept = None;
        let mut connections = JoinSet::new();
        loop {
            let open = *wish.borrow_and_update();
            if !open {
                listener = None;
                connections.shutdown().await;
                if kept.is_none() {
                    kept = Some(keep(self.address).await);
                }
            } else if let Some(socket) = kept.take() {
                listener = socket.listen(1024).ok();
            }
            let _ = opened.send(listener.is_some());
            let Some(listening) = &listener else {
                if wish.changed().await.is_err() {
                    return;
                }
                continue;
            };
            loop {
                tokio::select! {
                    accepted = listening.accept() => {
                        if let Ok((stream, _)) = accepted {
                            self.connections.fetch_add(1, Ordering::Relaxed);
                            let (acceptor, handler) = (self.acceptor.clone(), self.handler.clone());
                            connections.spawn(connection(acceptor, self.streams, stream, handler));
                        }
                    }
                    Some(_) = connections.join_next() => {}
                    changed = wish.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        break;
                    }
                }
            }
        }
    }
}

/// Occupies an address with a socket that refuses connections. It may take a moment until the address is free.
async fn keep(address: SocketAddr) -> TcpSocket {
    loop {
        let kept = TcpSocket::new_v4().and_then(|socket| {
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        });
        match kept {
            Ok(socket) => return socket,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Errors on a connection are left for the client to notice.
async fn connection<H, F>(acceptor: TlsAcceptor, streams: u32, stream: TcpStream, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Reply, HangUp>> + Send + 'static,
{
    let _ = stream.set_nodelay(true);
    if let Ok(stream) = acceptor.accept(stream).await {
        let mut builder = Builder::new(TokioExecutor::new());
        // The handlers set the date, or omit it.
        builder.http1().auto_date_header(false);
        builder.http2().auto_date_header(false).max_concurrent_streams(streams);
        let _ = builder.serve_connection(TokioIo::new(stream), service_fn(handler)).await;
    }
}
