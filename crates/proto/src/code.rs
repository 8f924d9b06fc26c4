//! The contract's result codes. Numbers are pinned; the C names are these with `CRVideo_` in front.

macro_rules! codes {
    ($( $(#[$meta:meta])* $name:ident = $number:literal, $text:literal; )*) => {
        $( $(#[$meta])* #[doc = $text] pub const $name: i32 = $number; )*

        /// What a code means and who must act, as one English sentence.
        pub fn text(code: i32) -> &'static core::ffi::CStr {
            match code {
                $( $number => {
                    const TEXT: &core::ffi::CStr =
                        match core::ffi::CStr::from_bytes_with_nul(concat!($text, "\0").as_bytes()) {
                            Ok(text) => text,
                            Err(_) => c"",
                        };
                    TEXT
                } )*
                _ => c"No such code: the caller passed a number that this library never returns.",
            }
        }

        /// Every code, ascending.
        pub const ALL: &[i32] = &[$( $number ),*];
    };
}

codes! {
    NOERR = 0, "Success.";
    UNKNOWNERR = 1, "An error without a better description; see the log.";
    OUTOF_MEM = 2, "Not enough memory; free some or send less at a time.";
    INNER_ERR = 3, "A fault inside the library; please report it with the log.";
    MISMATCHCLIENTVER = 4, "The relay speaks no protocol version that this library speaks; update the older of the two.";
    PARAM_ERR = 5, "An argument is wrong: NULL, empty, too long, malformed or not UTF-8; the caller must correct it.";
    ERR_DATA = 6, "The content failed its check on arrival; send it again.";
    ANCTPSWD_ERR = 7, "Unknown project or wrong secret; check both against the relay's configuration.";
    SERVER_EXCEPTION = 8, "The relay has a fault or is stopping; its operator must look at its log.";
    LOGINSTATE_ERROR = 9, "This call does not fit the present state (for instance a second login); the caller must wait or correct the order.";
    KICKOUT_BY_RELOGIN = 10, "The same user has logged in elsewhere; this session has ended.";
    NOT_INIT = 11, "The handle is dead or not of this kind, or the process was forked; create a new one.";
    NOT_LOGIN = 12, "The session is not logged in; log in first.";
    TOKEN_TIMEOUT = 18, "The token has expired; fetch a new one.";
    TOKEN_AUTHINFOERR = 19, "The token does not fit this project or user; fetch one for them.";
    TOKEN_APPIDNOTEXIST = 20, "The relay does not know this project; check the project id.";
    TOKEN_AUTH_FAILED = 21, "The token's signature is wrong; whoever mints tokens must use the project's secret.";
    TOKEN_NOTTOKENTYPE = 22, "This is not a token the relay can read (a JWT signed with HS256).";
    API_NO_PERMISSION = 23, "The project may not use this function; ask the relay's operator.";
    ACCOUNT_EXPIRED = 24, "The project has expired; ask the relay's operator.";
    NETWORK_INITFAILED = 200, "The network could not be set up in this process; see the log.";
    NO_SERVERINFO = 201, "The server's name could not be resolved; check the address.";
    NOSERVER_RSP = 202, "The server took the connection but did not answer in time.";
    CREATE_CONN_FAILED = 203, "No connection to the server: refused, unreachable or timed out.";
    SOCKETEXCEPTION = 204, "The connection broke with an error of the operating system.";
    SOCKETTIMEOUT = 205, "Timed out; nothing has arrived at the target.";
    FORCEDCLOSECONNECTION = 206, "The server closed the connection.";
    CONNECTIONLOST = 207, "The connection is lost; nothing has arrived at the target.";
    SSL_ERR = 209, "The encrypted connection failed; check the certificate.";
    RSPDAT_ERR = 210, "The server's answer makes no sense; is it a crvideo relay?";
    PEER_REFUSE = 606, "The target refused or cancelled the transfer.";
    SENDFAIL = 1000, "Sending failed for a reason without a better code; see the log.";
    SENDCMD_LARGE = 1100, "A command has at most 65,536 bytes; send a buffer instead.";
    SENDBUFFER_LARGE = 1101, "The buffer is larger than the configured limit; send a file instead.";
    SENDDATA_TARGETINVALID = 1102, "The target is not logged in or not reachable.";
    SENDFILE_FILEINERROR = 1103, "The source file is missing, unreadable, or changed while it was sent.";
    TRANSID_INVALID = 1104, "No task with this id can be cancelled: unknown, finished, or a command.";
    SEND_CANCELLED = 1105, "The sender cancelled it.";
    SEND_QUEUE_FULL = 1106, "A limit on what may be queued is reached, or the target takes too slowly; send more later.";
    SEND_OUTCOME_UNKNOWN = 1107, "The target has got it once or not at all; nobody can tell which.";
    FILE_NOT_EXIST = 1400, "The file does not exist.";
    FILE_READ_ERR = 1401, "The file cannot be read.";
    FILE_WRITE_ERR = 1402, "The file cannot be written at the receiver; is its disk full?";
    FILE_ALREADY_EXIST = 1403, "A file of this name exists already at the receiver.";
    FILE_OPERATOR_ERR = 1404, "An operation on the file failed; see the log.";
    FILE_SIZE_UNSUPPORT = 1405, "The file is larger than the relay's policy allows.";
}
