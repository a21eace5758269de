//! A system that is told of approved actions.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

/// Takes one delivery and answers with this status: its head and its body.
pub fn receive(listener: &TcpListener, status: u16) -> (String, Vec<u8>) {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).unwrap();
    }
    let mut body = vec![0; header(&head, "content-length").parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    reader.get_mut().write_all(answer.as_bytes()).unwrap();
    (head, body)
}

/// A header of a request.
pub fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let named = |line: &'a str| line.split_once(':').filter(|(own, _)| own.eq_ignore_ascii_case(name));
    head.lines().find_map(named).unwrap().1.trim()
}
