//! The result codes, as C sees them. Their list and their texts stand in `crvideo_proto::code`; a test compares.

use std::ffi::{CStr, c_char, c_int};

use crvideo_proto::{code, rtm};

/// The result of a call or of a task: `CRVideo_NOERR` (0) or one of the codes below. Later versions may add codes:
/// treat one you do not know as a failure and show `CRVideo_ErrText`.
pub type CRVideo_Err = c_int;

/// Success.
pub const CRVideo_NOERR: CRVideo_Err = 0;
/// An error without a better description; see the log.
pub const CRVideo_UNKNOWNERR: CRVideo_Err = 1;
/// Not enough memory; free some or send less at a time.
pub const CRVideo_OUTOF_MEM: CRVideo_Err = 2;
/// A fault inside the library; please report it with the log.
pub const CRVideo_INNER_ERR: CRVideo_Err = 3;
/// The relay speaks no protocol version that this library speaks; update the older of the two.
pub const CRVideo_MISMATCHCLIENTVER: CRVideo_Err = 4;
/// An argument is wrong: NULL, empty, too long, malformed or not UTF-8; the caller must correct it.
pub const CRVideo_PARAM_ERR: CRVideo_Err = 5;
/// The content failed its check on arrival; send it again.
pub const CRVideo_ERR_DATA: CRVideo_Err = 6;
/// Unknown project or wrong secret; check both against the relay's configuration.
pub const CRVideo_ANCTPSWD_ERR: CRVideo_Err = 7;
/// The relay has a fault or is stopping; its operator must look at its log.
pub const CRVideo_SERVER_EXCEPTION: CRVideo_Err = 8;
/// This call does not fit the present state (for instance a second login); the caller must wait or correct the order.
pub const CRVideo_LOGINSTATE_ERROR: CRVideo_Err = 9;
/// The same user has logged in elsewhere; this session has ended.
pub const CRVideo_KICKOUT_BY_RELOGIN: CRVideo_Err = 10;
/// The handle is dead or not of this kind, or the process was forked; create a new one.
pub const CRVideo_NOT_INIT: CRVideo_Err = 11;
/// The session is not logged in; log in first.
pub const CRVideo_NOT_LOGIN: CRVideo_Err = 12;
/// The token has expired; fetch a new one.
pub const CRVideo_TOKEN_TIMEOUT: CRVideo_Err = 18;
/// The token does not fit this project or user; fetch one for them.
pub const CRVideo_TOKEN_AUTHINFOERR: CRVideo_Err = 19;
/// The relay does not know this project; check the project id.
pub const CRVideo_TOKEN_APPIDNOTEXIST: CRVideo_Err = 20;
/// The token's signature is wrong; whoever mints tokens must use the project's secret.
pub const CRVideo_TOKEN_AUTH_FAILED: CRVideo_Err = 21;
/// This is not a token the relay can read (a JWT signed with HS256).
pub const CRVideo_TOKEN_NOTTOKENTYPE: CRVideo_Err = 22;
/// The project may not use this function; ask the relay's operator.
pub const CRVideo_API_NO_PERMISSION: CRVideo_Err = 23;
/// The project has expired; ask the relay's operator.
pub const CRVideo_ACCOUNT_EXPIRED: CRVideo_Err = 24;
/// The network could not be set up in this process; see the log.
pub const CRVideo_NETWORK_INITFAILED: CRVideo_Err = 200;
/// The server's name could not be resolved; check the address.
pub const CRVideo_NO_SERVERINFO: CRVideo_Err = 201;
/// The server took the connection but did not answer in time.
pub const CRVideo_NOSERVER_RSP: CRVideo_Err = 202;
/// No connection to the server: refused, unreachable or timed out.
pub const CRVideo_CREATE_CONN_FAILED: CRVideo_Err = 203;
/// The connection broke with an error of the operating system.
pub const CRVideo_SOCKETEXCEPTION: CRVideo_Err = 204;
/// Timed out; nothing has arrived at the target.
pub const CRVideo_SOCKETTIMEOUT: CRVideo_Err = 205;
/// The server closed the connection.
pub const CRVideo_FORCEDCLOSECONNECTION: CRVideo_Err = 206;
/// The connection is lost; nothing has arrived at the target.
pub const CRVideo_CONNECTIONLOST: CRVideo_Err = 207;
/// The encrypted connection failed; check the certificate.
pub const CRVideo_SSL_ERR: CRVideo_Err = 209;
/// The server's answer makes no sense; is it a crvideo relay?
pub const CRVideo_RSPDAT_ERR: CRVideo_Err = 210;
/// The target refused or cancelled the transfer.
pub const CRVideo_PEER_REFUSE: CRVideo_Err = 606;
/// Sending failed for a reason without a better code; see the log.
pub const CRVideo_SENDFAIL: CRVideo_Err = 1000;
/// A command has at most 65,536 bytes; send a buffer instead.
pub const CRVideo_SENDCMD_LARGE: CRVideo_Err = 1100;
/// The buffer is larger than the configured limit; send a file instead.
pub const CRVideo_SENDBUFFER_LARGE: CRVideo_Err = 1101;
/// The target is not logged in or not reachable.
pub const CRVideo_SENDDATA_TARGETINVALID: CRVideo_Err = 1102;
/// The source file is missing, unreadable, or changed while it was sent.
pub const CRVideo_SENDFILE_FILEINERROR: CRVideo_Err = 1103;
/// No task with this id can be cancelled: unknown, finished, or a command.
pub const CRVideo_TRANSID_INVALID: CRVideo_Err = 1104;
/// The sender cancelled it.
pub const CRVideo_SEND_CANCELLED: CRVideo_Err = 1105;
/// A limit on what may be queued is reached, or the target takes too slowly; send more later.
pub const CRVideo_SEND_QUEUE_FULL: CRVideo_Err = 1106;
/// The target has got it once or not at all; nobody can tell which.
pub const CRVideo_SEND_OUTCOME_UNKNOWN: CRVideo_Err = 1107;
/// The file does not exist.
pub const CRVideo_FILE_NOT_EXIST: CRVideo_Err = 1400;
/// The file cannot be read.
pub const CRVideo_FILE_READ_ERR: CRVideo_Err = 1401;
/// The file cannot be written at the receiver; is its disk full?
pub const CRVideo_FILE_WRITE_ERR: CRVideo_Err = 1402;
/// A file of this name exists already at the receiver.
pub const CRVideo_FILE_ALREADY_EXIST: CRVideo_Err = 1403;
/// An operation on the file failed; see the log.
pub const CRVideo_FILE_OPERATOR_ERR: CRVideo_Err = 1404;
/// The file is larger than the relay's policy allows.
pub const CRVideo_FILE_SIZE_UNSUPPORT: CRVideo_Err = 1405;

/// What a code means and who must act, as one English sentence; it also knows the numbers of FPNN and RTM servers. Never
/// NULL, for a number that is no code neither.
///
/// Any thread, callbacks and a forked child included. The text is static: do not free it, it stays for ever.
#[unsafe(no_mangle)]
pub extern "C" fn CRVideo_ErrText(err: CRVideo_Err) -> *const c_char {
    text_of(err).as_ptr()
}

/// The text of a code of the contract's, FPNN's or RTM's.
pub(super) fn text_of(err: CRVideo_Err) -> &'static CStr {
    rtm::code::text(err).unwrap_or_else(|| code::text(err))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and numbers as the header has them, in the contract's order.
    const FACE: &[(&str, CRVideo_Err)] = &[
        ("NOERR", CRVideo_NOERR),
        ("UNKNOWNERR", CRVideo_UNKNOWNERR),
        ("OUTOF_MEM", CRVideo_OUTOF_MEM),
        ("INNER_ERR", CRVideo_INNER_ERR),
        ("MISMATCHCLIENTVER", CRVideo_MISMATCHCLIENTVER),
        ("PARAM_ERR", CRVideo_PARAM_ERR),
        ("ERR_DATA", CRVideo_ERR_DATA),
        ("ANCTPSWD_ERR", CRVideo_ANCTPSWD_ERR),
        ("SERVER_EXCEPTION", CRVideo_SERVER_EXCEPTION),
        ("LOGINSTATE_ERROR", CRVideo_LOGINSTATE_ERROR),
        ("KICKOUT_BY_RELOGIN", CRVideo_KICKOUT_BY_RELOGIN),
        ("NOT_INIT", CRVideo_NOT_INIT),
        ("NOT_LOGIN", CRVideo_NOT_LOGIN),
        ("TOKEN_TIMEOUT", CRVideo_TOKEN_TIMEOUT),
        ("TOKEN_AUTHINFOERR", CRVideo_TOKEN_AUTHINFOERR),
        ("TOKEN_APPIDNOTEXIST", CRVideo_TOKEN_APPIDNOTEXIST),
        ("TOKEN_AUTH_FAILED", CRVideo_TOKEN_AUTH_FAILED),
        ("TOKEN_NOTTOKENTYPE", CRVideo_TOKEN_NOTTOKENTYPE),
        ("API_NO_PERMISSION", CRVideo_API_NO_PERMISSION),
        ("ACCOUNT_EXPIRED", CRVideo_ACCOUNT_EXPIRED),
        ("NETWORK_INITFAILED", CRVideo_NETWORK_INITFAILED),
        ("NO_SERVERINFO", CRVideo_NO_SERVERINFO),
        ("NOSERVER_RSP", CRVideo_NOSERVER_RSP),
        ("CREATE_CONN_FAILED", CRVideo_CREATE_CONN_FAILED),
        ("SOCKETEXCEPTION", CRVideo_SOCKETEXCEPTION),
        ("SOCKETTIMEOUT", CRVideo_SOCKETTIMEOUT),
        ("FORCEDCLOSECONNECTION", CRVideo_FORCEDCLOSECONNECTION),
        ("CONNECTIONLOST", CRVideo_CONNECTIONLOST),
        ("SSL_ERR", CRVideo_SSL_ERR),
        ("RSPDAT_ERR", CRVideo_RSPDAT_ERR),
        ("PEER_REFUSE", CRVideo_PEER_REFUSE),
        ("SENDFAIL", CRVideo_SENDFAIL),
        ("SENDCMD_LARGE", CRVideo_SENDCMD_LARGE),
        ("SENDBUFFER_LARGE", CRVideo_SENDBUFFER_LARGE),
        ("SENDDATA_TARGETINVALID", CRVideo_SENDDATA_TARGETINVALID),
        ("SENDFILE_FILEINERROR", CRVideo_SENDFILE_FILEINERROR),
        ("TRANSID_INVALID", CRVideo_TRANSID_INVALID),
        ("SEND_CANCELLED", CRVideo_SEND_CANCELLED),
        ("SEND_QUEUE_FULL", CRVideo_SEND_QUEUE_FULL),
        ("SEND_OUTCOME_UNKNOWN", CRVideo_SEND_OUTCOME_UNKNOWN),
        ("FILE_NOT_EXIST", CRVideo_FILE_NOT_EXIST),
        ("FILE_READ_ERR", CRVideo_FILE_READ_ERR),
        ("FILE_WRITE_ERR", CRVideo_FILE_WRITE_ERR),
        ("FILE_ALREADY_EXIST", CRVideo_FILE_ALREADY_EXIST),
        ("FILE_OPERATOR_ERR", CRVideo_FILE_OPERATOR_ERR),
        ("FILE_SIZE_UNSUPPORT", CRVideo_FILE_SIZE_UNSUPPORT),
    ];

    #[test]
    fn numbers_of_servers_have_their_texts_too() {
        for number in rtm::code::ALL {
            assert!(!code::ALL.contains(number));
            assert_eq!(Some(text_of(*number)), rtm::code::text(*number));
        }
        assert_eq!(text_of(CRVideo_NOT_INIT), code::text(CRVideo_NOT_INIT));
    }

    #[test]
    fn the_constants_are_the_contracts_codes() {
        assert_eq!(FACE.iter().map(|(_, number)| *number).collect::<Vec<_>>(), code::ALL);
    }

    #[test]
    fn every_code_has_a_text_of_its_own_and_strangers_have_one_too() {
        let mut texts: Vec<_> = FACE.iter().map(|(_, number)| code::text(*number)).collect();
        texts.push(code::text(-1));
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), FACE.len() + 1);
        assert!(texts.iter().all(|text| text.count_bytes() > 4));
    }
}
