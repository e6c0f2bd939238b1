//! Owns a gate before containerd's socket: every call passes, but the answer to one is kept back. So a client stands still
//! exactly between two of its calls, with the first one done.

use std::convert::Infallible;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Collected, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::http::{Request, Response};
use tonic::transport::Channel;

use crate::command::eventually;
use crate::node::Node;

/// A gate; it closes with the value.
#[derive(Debug)]
pub struct Gate {
    /// The socket to use instead of containerd's.
    pub socket: PathBuf,
    state: Arc<State>,
    /// Its thread ends with this.
    _alive: oneshot::Sender<Infallible>,
}

#[derive(Debug, Default)]
struct State {
    /// The end of a path, and of the request: what the call is about.
    method: &'static str,
    about: &'static str,
    open: AtomicBool,
    /// Whoever stands before it gets the answer after all.
    late: AtomicBool,
    reached: AtomicBool,
}

impl Gate {
    /// Puts a gate before a node that is shut for one call: a method such as `Snapshots/Remove`, and the end of its request.
    pub fn before(node: &Node, method: &'static str, about: &'static str) -> Self {
        let socket = node.dir.join("gate.sock");
        std::fs::remove_file(&socket).ok();
        let state = Arc::new(State { method, about, ..State::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(async { UnixListener::bind(&socket).expect("the gate's socket") });
        let (_alive, over) = oneshot::channel();
        let serving = serve(listener, node.address(), Arc::clone(&state));
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! { () = serving => (), _ = over => () }
            });
        });
        Self { socket, state, _alive }
    }

    /// Waits until containerd has done what the method asks for, and a client stands before the gate.
    #[track_caller]
    pub fn wait(&self) {
        let reached = || self.state.reached.load(Ordering::SeqCst).then_some(());
        eventually(self.state.method, Duration::from_secs(20), reached);
    }

    /// Lets everything that comes from now on pass.
    pub fn open(&self) {
        self.state.open.store(true, Ordering::SeqCst);
    }

    /// Gives the answer that was kept back.
    pub fn answer(&self) {
        self.state.late.store(true, Ordering::SeqCst);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        std::fs::remove_file(&self.socket).ok();
    }
}

async fn serve(listener: UnixListener, containerd: PathBuf, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(channel) = connect(&containerd).await else { continue };
        let state = Arc::clone(&state);
        let pass = service_fn(move |request| pass(channel.clone(), request, Arc::clone(&state)));
        tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), pass));
    }
}

async fn connect(containerd: &Path) -> Result<Channel, tonic::transport::Error> {
    containerd_client::connect(containerd).await
}

async fn pass(
    mut containerd: Channel,
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Body>, tonic::transport::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let meant = head.uri.path().ends_with(state.method) && body.ends_with(state.about.as_bytes());
    let shut = meant && !state.open.load(Ordering::SeqCst);
    poll_fn(|context| GrpcService::<Body>::poll_ready(&mut containerd, context)).await?;
    let answer = GrpcService::call(&mut containerd, Request::from_parts(head, Body::new(Full::from(body)))).await?;
    if shut {
        state.reached.store(true, Ordering::SeqCst);
        while !state.late.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(answer)
}
