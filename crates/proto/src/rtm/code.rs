//! Error numbers of FPNN (10001 to 30002) and of RTM (from 200001), as their published SDKs know them.

macro_rules! codes {
    ($( $name:ident = $number:literal, $text:literal; )*) => {
        $( #[doc = $text] pub const $name: i32 = $number; )*

        /// What a number means, as one English sentence; `None` for numbers that neither FPNN nor RTM define.
        pub fn text(code: i32) -> Option<&'static core::ffi::CStr> {
            Some(match code {
                $( $number => {
                    const TEXT: &core::ffi::CStr =
                        match core::ffi::CStr::from_bytes_with_nul(concat!($text, "\0").as_bytes()) {
                            Ok(text) => text,
                            Err(_) => c"",
                        };
                    TEXT
                } )*
                _ => return None,
            })
        }

        /// Every number, ascending.
        pub const ALL: &[i32] = &[$( $number ),*];
    };
}

codes! {
    CODEC = 10_001, "FPNN: a package cannot be decoded, for an unknown reason.";
    PROTOCOL = 10_002, "FPNN: this protocol, format or encoding is not supported.";
    INVALID_PACKAGE = 10_003, "FPNN: the package is not valid.";
    JSON = 10_004, "FPNN: the payload cannot be converted from or to JSON.";
    KEY_NOT_TEXT = 10_005, "FPNN: a map key is not text.";
    NOT_A_MAP = 10_006, "FPNN: the payload's root is not a map.";
    PACKAGE_TYPE = 10_007, "FPNN: this type of package does not fit the operation.";
    ENCODING_TYPE = 10_008, "FPNN: this type of encoding is not supported.";
    MISSING = 10_009, "FPNN: a required parameter is missing.";
    WRONG_TYPE = 10_010, "FPNN: a parameter has the wrong type.";
    FILE_SIGN = 10_011, "FPNN: the file's signature is wrong.";
    FILE_MISSING = 10_012, "FPNN: the file does not exist.";
    UNKNOWN = 20_001, "FPNN: an error without a better description; see the server's log.";
    CONNECTION_CLOSED = 20_002, "FPNN: the connection was closed before the answer came; whether the server acted on the call is not known.";
    TIMEOUT = 20_003, "FPNN: no answer in time; whether the server acted on the call is not known.";
    UNKNOWN_METHOD = 20_004, "FPNN: the server does not know this method.";
    ENCODE = 20_005, "FPNN: the call cannot be encoded.";
    DECODE = 20_006, "FPNN: what came cannot be decoded; is it an FPNN server?";
    SEND = 20_007, "FPNN: the call cannot be sent.";
    RECEIVE = 20_008, "FPNN: the answer cannot be received.";
    PACKAGE = 20_009, "FPNN: the package cannot be read.";
    HTTP = 20_010, "FPNN: an HTTP error.";
    QUEUE_FULL = 20_011, "FPNN: too much work is queued; call again later.";
    CONNECTION = 20_012, "FPNN: there is no connection to the server: refused, unreachable or timed out.";
    FORBIDDEN = 20_013, "FPNN: this is not allowed here.";
    STOPPING = 20_014, "FPNN: the server is stopping; call again later.";
    CANCELLED = 20_015, "FPNN: the call was given up.";
    COMPRESS = 30_001, "FPNN: compression failed.";
    DECOMPRESS = 30_002, "FPNN: decompression failed.";
    BAD_ID = 200_001, "RTM: bad project or user id.";
    BAD_SIGN = 200_002, "RTM: bad project id or signature; check the project's id and secret.";
    BAD_FILE = 200_003, "RTM: bad file, file signature or file token.";
    ATTRS_INCOMPLETE = 200_004, "RTM: the attributes have no signature or no extension.";
    BAD_MTYPE = 200_005, "RTM: the message type must be from 1 to 127.";
    SAME_SIGN = 200_006, "RTM: the same signature was used before.";
    BAD_FILE_MTYPE = 200_007, "RTM: the message type of a file must be from 40 to 50.";
    BAD_TS = 200_008, "RTM: the time of the signature does not fit the server's clock; set the clock.";
    CALL_RATE = 200_010, "RTM: too many calls; call again later.";
    MESSAGE_RATE = 200_011, "RTM: too many messages; send again later.";
    KICK_ONESELF = 200_012, "RTM: nobody can kick out himself.";
    METHOD_FORBIDDEN = 200_020, "RTM: this method is not allowed.";
    NO_PERMISSION = 200_021, "RTM: no permission.";
    NOT_AUTHENTICATED = 200_022, "RTM: not authenticated; authenticate first.";
    ALREADY_AUTHENTICATED = 200_023, "RTM: already authenticated.";
    BLACK_LISTED = 200_024, "RTM: the login is denied by the project's black list.";
    ADMIN_LOGIN = 200_025, "RTM: an administrator's id cannot log in here.";
    ADMIN_ONLY = 200_026, "RTM: only an administrator may do this.";
    BAD_TOKEN = 200_027, "RTM: the authentication token is not valid; fetch a new one.";
    MESSAGE_TOO_LARGE = 200_030, "RTM: the message is too large.";
    TOO_LARGE = 200_031, "RTM: the file or the attributes are too large.";
    TOO_MANY = 200_032, "RTM: too many items.";
    EMPTY = 200_033, "RTM: empty where something must be.";
    BAD_PARAM = 200_034, "RTM: a parameter is not valid.";
    NOT_IN_ROOM = 200_040, "RTM: not in the room.";
    NOT_IN_GROUP = 200_041, "RTM: not a member of the group.";
    GROUP_FULL = 200_042, "RTM: the group is full.";
    NOT_A_FRIEND = 200_043, "RTM: not a friend.";
    BANNED_IN_GROUP = 200_044, "RTM: banned in the group.";
    BANNED_IN_ROOM = 200_045, "RTM: banned in the room.";
    GROUP_EMPTY = 200_046, "RTM: the group has no members.";
    TOO_MANY_ROOMS = 200_047, "RTM: in too many rooms.";
    TOO_MANY_FRIENDS = 200_048, "RTM: too many friends.";
    BLOCKED = 200_049, "RTM: blocked by the receiver.";
    LANGUAGE = 200_050, "RTM: the language is not supported.";
    NOTHING_TO_TRANSLATE = 200_051, "RTM: nothing to translate.";
    TO_ONESELF = 200_052, "RTM: nobody can send to himself here.";
    SAME_MID = 200_053, "RTM: the same message id was used before.";
    SENSITIVE_WORDS = 200_054, "RTM: the text contains words that are not allowed.";
    NOT_ONLINE = 200_055, "RTM: the user is not online.";
    TRANSLATION = 200_056, "RTM: the translation failed.";
    PROFANITY = 200_057, "RTM: stopped for profanity.";
    NOT_ENABLED = 200_060, "RTM: this is not enabled for the project.";
    TRANSCRIPTION = 200_061, "RTM: this type of transcription is not supported.";
    USER_BLOCKED = 200_062, "RTM: the user is blocked.";
    MESSAGE_NOT_FOUND = 200_070, "RTM: there is no such message.";
    RTM_UNKNOWN = 200_999, "RTM: an error without a better description; see the server's log.";
}
