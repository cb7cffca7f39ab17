//! The table of malformed and violating input, `testdata/malformed.txt`, for tests of whatever reads MQTT.
//!
//! Called by the tests of this crate, which run each row through the decoder, and by the end-to-end tests, which send
//! each row to a running broker. The head of the file describes its format.

mod bytes;

use std::fmt;

use crate::protocol_version::ProtocolVersion;
use crate::reason_code::ReasonCode;

const TABLE: &str = include_str!("../testdata/malformed.txt");

/// One row: bytes that a server must refuse, and how it may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedCase {
    /// Where the row is in the file, from 1.
    pub line: usize,
    /// The version that the connection speaks.
    pub version: ProtocolVersion,
    /// When the bytes are sent.
    pub sent: Sent,
    /// Who can tell that they are wrong.
    pub seen_by: SeenBy,
    /// What is wrong, unique within the version.
    pub name: &'static str,
    /// The statement or section that is violated.
    pub statement: &'static str,
    /// The reason code by which the server knows the refusal, whether or not the version can say it.
    pub reason_code: ReasonCode,
    /// What is sent.
    pub bytes: Vec<u8>,
    /// What may come back. After each of them the server closes the connection.
    pub answers: Vec<Answer>,
}

/// When the bytes of a row are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// First, in place of a CONNECT.
    First,
    /// After a CONNECT of the row's version with a clean start and no properties has been accepted.
    Connected,
}

/// Who can tell that the bytes of a row are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenBy {
    /// The decoder, from the bytes alone.
    Codec,
    /// Only what knows the state of the connection.
    Connection,
}

/// What a server may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A CONNACK of 5.0 with this reason code.
    ConnAck(ReasonCode),
    /// A CONNACK of 3.1.1 with this return code.
    ReturnCode(u8),
    /// A DISCONNECT with this reason code.
    Disconnect(ReasonCode),
    /// Nothing.
    Close,
}

/// A row that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableError {
    /// Where it is in the file, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "testdata/malformed.txt:{}: {}", self.line, self.message)
    }
}

impl std::error::Error for TableError {}

/// Returns the rows in the order of the file.
///
/// # Errors
/// The first row that does not follow the format.
pub fn malformed_cases() -> Result<Vec<MalformedCase>, TableError> {
    TABLE
        .lines()
        .zip(1..)
        .filter(|(row, _)| !row.trim().is_empty() && !row.trim_start().starts_with('#'))
        .map(|(row, line)| parse_row(row, line).map_err(|message| TableError { line, message }))
        .collect()
}

fn parse_row(row: &'static str, line: usize) -> Result<MalformedCase, String> {
    let columns: Vec<&'static str> = row.split('|').map(str::trim).collect();
    let &[version, sent, seen_by, name, statement, reason_code, bytes, answers] = columns.as_slice() else {
        return Err(format!("{} columns instead of 8", columns.len()));
    };
    let version = match version {
        "3.1.1" => ProtocolVersion::V311,
        "5" => ProtocolVersion::V5,
        other => return Err(format!("unknown version `{other}`")),
    };
    let sent = match sent {
        "first" => Sent::First,
        "connected" => Sent::Connected,
        other => return Err(format!("unknown time `{other}`")),
    };
    let seen_by = match seen_by {
        "codec" => SeenBy::Codec,
        "connection" => SeenBy::Connection,
        other => return Err(format!("unknown observer `{other}`")),
    };
    Ok(MalformedCase {
        line,
        version,
        sent,
        seen_by,
        name,
        statement,
        reason_code: parse_reason_code(reason_code)?,
        bytes: bytes::parse(bytes)?,
        answers: answers.split_whitespace().map(parse_answer).collect::<Result<_, _>>()?,
    })
}

fn parse_answer(answer: &str) -> Result<Answer, String> {
    match answer.split_once(':') {
        None if answer == "close" => Ok(Answer::Close),
        Some(("connack", code)) => parse_reason_code(code).map(Answer::ConnAck),
        Some(("return", code)) => parse_byte(code).map(Answer::ReturnCode),
        Some(("disconnect", code)) => parse_reason_code(code).map(Answer::Disconnect),
        _ => Err(format!("unknown answer `{answer}`")),
    }
}

fn parse_reason_code(code: &str) -> Result<ReasonCode, String> {
    ReasonCode::from_byte(parse_byte(code)?).ok_or_else(|| format!("no reason code `{code}`"))
}

fn parse_byte(byte: &str) -> Result<u8, String> {
    byte.strip_prefix("0x")
        .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        .ok_or_else(|| format!("no byte `{byte}`"))
}

#[cfg(test)]
mod tests;
