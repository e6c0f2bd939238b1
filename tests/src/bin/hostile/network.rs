//! Sockets: containerd's, other kinds than TCP and UDP, other ports, and being connected to.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::time::Duration;

use nix::libc;

use crate::attempts::{Attempt, Targets};
use crate::kernel::checked;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    Attempt { name: "may connect to the registry", run: |targets| connect(targets.port) },
    Attempt { name: "may look up names", run: |_| ("localhost", 0).to_socket_addrs().map(drop) },
    Attempt { name: "containerd's socket", run: |targets| UnixStream::connect(&targets.socket).map(drop) },
    Attempt { name: "an abstract unix socket", run: abstract_socket },
    Attempt { name: "a pair of unix sockets", run: |_| UnixStream::pair().map(drop) },
    Attempt { name: "another port", run: |targets| connect(targets.other_port) },
    Attempt { name: "another port by fast open", run: fast_open },
    Attempt { name: "listen", run: |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(drop) },
    Attempt { name: "bind a UDP port", run: |_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map(drop) },
    Attempt { name: "a netlink socket", run: |_| socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE) },
    Attempt { name: "a packet socket", run: |_| socket(libc::AF_PACKET, libc::SOCK_RAW, 0) },
    Attempt { name: "a raw socket", run: |_| socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP) },
    Attempt { name: "an MPTCP socket", run: |_| socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP) },
    Attempt { name: "a socket to the hypervisor", run: |_| socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0) },
    Attempt { name: "a socket to the kernel's ciphers", run: |_| socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0) },
];

fn connect(port: u16) -> io::Result<()> {
    TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(5)).map(drop)
}

fn abstract_socket(targets: &Targets) -> io::Result<()> {
    UnixStream::connect_addr(&UnixAddr::from_abstract_name(&targets.name)?).map(drop)
}

fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<()> {
    // SAFETY: no memory is passed.
    checked(unsafe { libc::socket(family, kind, protocol) }.into())
}

/// Sends the first bytes with the request to connect.
fn fast_open(targets: &Targets) -> io::Result<()> {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: targets.other_port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: the address and the byte live as long as the call.
    checked(unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        let length = size_of_val(&address) as libc::socklen_t;
        libc::sendto(socket, c"x".as_ptr().cast(), 1, libc::MSG_FASTOPEN, (&raw const address).cast(), length) as i64
    })
}
