//! Every exported function with every special value of every argument, and of every two of them: a C program that is
//! made from the header. So a new function is covered, or, where it has an argument of a new kind, this test fails
//! until it says which values that has. `tests/c/arguments.h` makes the calls.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[path = "c/harness.rs"]
mod harness;

use std::collections::BTreeMap;
use std::fmt::Write;

use harness::{Mode, Relay, Running, Scratch, root};

/// Arguments that may be NULL, by their names; the function stands before those that may elsewhere not be.
const OPTIONAL: &str = "options cookie user cb callback result attrs task_id* handled CRVideo_Create.config \
    CRVideo_GetUserStatus.user_id CRVideo_AcceptTransfer.path";

/// The largest sound value of each length.
const LIMITS: [(&str, &str); 4] = [
    ("CRVideo_SendCmd.len", "CRVIDEO_CMD_MAX"),
    ("CRVideo_SendBuffer.len", "BUFFER_LIMIT"),
    ("len", "RTM_MESSAGE_MAX"),
    ("count", "RTM_IDS_MAX"),
];

/// Sound texts, by the argument's name.
const TEXTS: [(&str, &str); 8] = [
    ("target", "\"bob\""),
    ("source", "\"bob\""),
    ("user_id", "\"bob\""),
    ("path", "check_args[0]"),
    ("token", "\"token\""),
    ("task_id", "UNKNOWN_TASK"),
    ("cmd", "\"sendfile\""),
    ("attrs", "\"\""),
];

/// One declaration of the header.
struct Function {
    returns: String,
    name: String,
    /// Type and name.
    parameters: Vec<(String, String)>,
}

/// "struct X *name" as its type and name.
fn parameter(text: &str) -> (String, String) {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let at = text.rfind(|c: char| !c.is_alphanumeric() && c != '_').expect("a type and a name");
    (text[..=at].trim().replace("struct ", ""), text[at + 1..].to_owned())
}

fn parameters(text: &str) -> Vec<(String, String)> {
    let text = text.trim();
    if text == "void" { Vec::new() } else { text.split(',').map(parameter).collect() }
}

/// Types of callbacks, with their parameters.
type Callbacks = BTreeMap<String, Vec<(String, String)>>;

/// The functions, and the types of callbacks.
fn declarations() -> (Vec<Function>, Callbacks) {
    let header = std::fs::read_to_string(root().join("include/crvideo.h")).unwrap();
    let mut code = String::new();
    let mut rest = header.as_str();
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").expect("comments end").1;
    }
    code.push_str(rest);
    let lines = code.lines().filter(|line| !line.starts_with('#') && !line.contains("extern \"C\""));
    let code: String = lines.map(|line| line.to_owned() + "\n").collect();
    let (mut functions, mut callbacks) = (Vec::new(), BTreeMap::new());
    for statement in code.split(';') {
        let statement = statement.trim();
        if let Some(callback) = statement.strip_prefix("typedef void (*") {
            let (name, rest) = callback.split_once(")(").expect("a type of function");
            callbacks.insert(name.to_owned(), parameters(rest.strip_suffix(')').unwrap()));
        } else if let Some((head, rest)) = statement.split_once('(')
            && !head.contains(['{', '}'])
            && !head.starts_with("typedef")
        {
            let (returns, name) = parameter(head);
            functions.push(Function { returns, name, parameters: parameters(rest.strip_suffix(')').unwrap()) });
        }
    }
    (functions, callbacks)
}

/// The code of a value that is sound or not.
fn value(what: &str, fields: &str, expected: &str) -> String {
    format!("{{ \"{what}\", {fields}, {expected} }}")
}

fn number(what: &str, number: &str, expected: &str) -> String {
    value(what, &format!("{number}, NULL, NULL"), expected)
}

fn pointer(what: &str, address: &str, expected: &str) -> String {
    value(what, &format!("0, {address}, NULL"), expected)
}

/// What is passed for one parameter: the name of an array of values or its code, how many bytes are written, a length's
/// limit, and how the value is taken from the union.
struct Passed {
    values: Vec<String>,
    array: Option<&'static str>,
    out: String,
    limit: String,
    taken: String,
}

impl Passed {
    fn new(values: Vec<String>, taken: String) -> Self {
        Self { values, array: None, out: "0".to_owned(), limit: "0".to_owned(), taken }
    }
}

/// The values of one parameter.
fn passed(function: &str, kind: &str, name: &str, files: bool, callbacks: &[String]) -> Passed {
    let mark = if kind == "char *" { "*" } else { "" };
    let own = format!("{function}.{name}");
    let optional = OPTIONAL.split_whitespace().any(|other| other == own || other == format!("{name}{mark}"));
    // What a call of a sound kind then returns depends on the rest.
    let null = || pointer("NULL", "NULL", if optional { "ANY_CODE" } else { "CRVideo_PARAM_ERR" });
    let as_number = |kind: &str| format!("({kind})v.number");
    let handles = |array| Passed { array: Some(array), ..Passed::new(Vec::new(), as_number(kind)) };
    let numbers = |sound: &str, odd: &[&str]| {
        let mut values = vec![number("sound", sound, "ANY_CODE")];
        values.extend(odd.iter().map(|odd| number(odd, &format!("(uint64_t)({odd})"), "ANY_CODE")));
        Passed::new(values, as_number(kind))
    };
    match kind {
        "CRVideo_Session" => handles("session_values"),
        "CRVideo_Queue" => handles("queue_values"),
        "RTM_Client" => handles("client_values"),
        "CRVideo_Err" => numbers("0", &["-1", "1107", "INT_MIN", "INT_MAX"]),
        "uintptr_t" => {
            let known = function.trim_end_matches("InitSized");
            numbers(&format!("sizeof({known})"), &["0", "4"])
        }
        "int64_t" => numbers("1", &["0", "-1", "INT64_MIN", "INT64_MAX"]),
        // A time-out; for ever is not a value to try here.
        "uint32_t" => numbers("0", &["1"]),
        "int32_t" if name == "level" => numbers("CRVIDEO_LOG_OFF", &["1", "5", "6", "-1", "INT_MIN", "INT_MAX"]),
        "int32_t" => numbers(
            if files { "50" } else { "66" },
            &["0", "1", "-1", "39", "40", "51", "127", "128", "INT_MIN", "INT_MAX"],
        ),
        "size_t" => {
            let limit = LIMITS.iter().find(|(other, _)| *other == own).or(LIMITS.iter().find(|(key, _)| *key == name));
            let limit = limit.unwrap_or_else(|| panic!("{own} has no limit in LIMITS")).1;
            let mut values = numbers("1", &["0", limit]).values;
            for large in [&format!("{limit} + 1"), "INT_MAX", "(size_t)INT_MAX + 1", "SIZE_MAX"] {
                values.push(number(large, large, "ANY_ERROR"));
            }
            Passed { limit: limit.to_owned(), ..Passed::new(values, as_number(kind)) }
        }
        "const char *" => {
            let sound = TEXTS.iter().find(|(other, _)| *other == name);
            let sound = sound.unwrap_or_else(|| panic!("{own} has no text in TEXTS")).1;
            let mut values = vec![pointer("sound", sound, "ANY_CODE"), null(), pointer("empty", "\"\"", "ANY_CODE")];
            // A path may have any bytes.
            let not_utf8 = if name == "path" { "ANY_CODE" } else { "CRVideo_PARAM_ERR" };
            values.push(pointer("not UTF-8", "\"\\xff\"", not_utf8));
            values.push(pointer("half a character", "\"a\\xe4\\xbd\"", not_utf8));
            let long = if name == "attrs" { "ANY_ERROR" } else { "CRVideo_PARAM_ERR" };
            values.push(pointer("long", "long_text", long));
            Passed::new(values, "v.pointer".to_owned())
        }
        "const void *" => Passed::new(vec![pointer("sound", "content", "ANY_CODE"), null()], "v.pointer".to_owned()),
        "const int64_t *" => Passed::new(vec![pointer("sound", "ids", "ANY_CODE"), null()], "v.pointer".to_owned()),
        "void *" => Passed::new(
            vec![pointer("NULL", "NULL", "ANY_CODE"), pointer("no address", "FORBIDDEN", "ANY_CODE")],
            "(void *)v.pointer".to_owned(),
        ),
        _ if callbacks.iter().any(|callback| callback == kind) => Passed::new(
            vec![
                value("sound", &format!("0, NULL, (void (*)(void))on_{kind}"), "ANY_CODE"),
                value("NULL", "0, NULL, NULL", "ANY_CODE"),
            ],
            format!("({kind})v.function"),
        ),
        _ if kind.starts_with("const ") => {
            let array = format!("{}_values", kind.trim_start_matches("const ").trim_end_matches(" *"));
            let mut values = vec![pointer("sound", &format!("&{array}[0]"), "ANY_CODE"), null()];
            for (at, what) in [(1, "of size 0"), (2, "of size 4")] {
                values.push(pointer(what, &format!("&{array}[{at}]"), "CRVideo_PARAM_ERR"));
            }
            for (at, what) in [(3, "larger"), (4, "of the largest size")] {
                values.push(pointer(what, &format!("&{array}[{at}]"), "ANY_CODE"));
            }
            Passed::new(values, "v.pointer".to_owned())
        }
        _ if name == "result" => Passed::new(
            vec![
                pointer("NULL", "NULL", "ANY_CODE"),
                pointer("there", &format!("&{}_there", kind.trim_end_matches(" *")), "ANY_CODE"),
            ],
            "(void *)v.pointer".to_owned(),
        ),
        "char *" | "uint32_t *" | "intptr_t *" | "CRVideo_Session *" | "CRVideo_Queue *" | "RTM_Client *" => {
            let bytes = if kind == "char *" {
                "CRVIDEO_TASK_ID_SIZE".to_owned()
            } else {
                format!("sizeof({})", kind.trim_end_matches(" *"))
            };
            let values = vec![pointer("sound", "NULL", "ANY_CODE"), null()];
            Passed { out: bytes, ..Passed::new(values, "(void *)v.pointer".to_owned()) }
        }
        // The functions that fill a struct.
        _ if function.ends_with("Init") || function.ends_with("InitSized") => {
            let bytes = format!("sizeof({})", kind.trim_end_matches(" *"));
            let values = vec![pointer("sound", "NULL", "ANY_CODE"), pointer("NULL", "NULL", "ANY_CODE")];
            Passed { out: bytes, ..Passed::new(values, "(void *)v.pointer".to_owned()) }
        }
        _ => panic!("{own} is {kind:?}: say here which values are to be tried"),
    }
}

/// The program, and the names of the functions that it covers.
fn program() -> (String, Vec<String>) {
    let (functions, callbacks) = declarations();
    let mut code = format!("#include \"{}\"\n\n", root().join("tests/c/arguments.h").display());
    let mut runs = String::new();
    for result in ["RTM_Result", "RTM_SendResult", "RTM_TokenResult", "RTM_ListResult"] {
        writeln!(code, "static {result} {result}_there;").unwrap();
        writeln!(runs, "    {result}Init(&{result}_there);").unwrap();
    }
    for (name, parameters) in &callbacks {
        let list: Vec<_> = parameters.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
        let unused: String = parameters.iter().map(|(_, name)| format!("(void){name}; ")).collect();
        writeln!(code, "static void on_{name}({}) {{ {unused}}}", list.join(", ")).unwrap();
    }
    let callbacks: Vec<String> = callbacks.into_keys().collect();
    let mut names = Vec::new();
    for Function { returns, name, parameters } in &functions {
        let files = parameters.iter().any(|(kind, _)| kind == "const RTM_File *");
        let mut arguments = Vec::new();
        let (mut arrays, mut table) = (String::new(), String::new());
        for (at, (kind, parameter)) in parameters.iter().enumerate() {
            let passed = passed(name, kind, parameter, files, &callbacks);
            let array = passed.array.map(str::to_owned).unwrap_or_else(|| {
                let array = format!("{name}_{at}");
                writeln!(arrays, "    const struct value {array}[] = {{ {} }};", passed.values.join(",\n        "))
                    .unwrap();
                array
            });
            let Passed { out, limit, taken, .. } = passed;
            writeln!(
                table,
                "        {{ \"{parameter}\", {array}, (int)(sizeof {array} / sizeof {array}[0]), {out}, {limit} }},"
            )
            .unwrap();
            arguments.push(taken.replace("v.", &format!("v[{at}].")));
        }
        let call = format!("({name})({})", arguments.join(", "));
        let body =
            if returns == "CRVideo_Err" { format!("return {call};") } else { format!("{call}; return CRVideo_NOERR;") };
        writeln!(code, "\nstatic CRVideo_Err call_{name}(const struct value *v)\n{{\n    (void)v;\n    {body}\n}}")
            .unwrap();
        writeln!(code, "\nstatic void abuse_{name}(void)\n{{\n{arrays}    const struct parameter parameters[] = {{")
            .unwrap();
        writeln!(code, "{table}        {{ NULL, NULL, 0, 0, 0 }} }};").unwrap();
        writeln!(
            code,
            "    const struct function function = {{ \"{name}\", call_{name}, parameters, {} }};\n    abuse(&function);\n}}",
            parameters.len()
        )
        .unwrap();
        writeln!(runs, "    abuse_{name}();").unwrap();
        names.push(name.clone());
    }
    writeln!(code, "\nint main(int argc, char **argv)\n{{\n    check_begin(argc, argv);\n    arguments_begin();")
        .unwrap();
    writeln!(code, "{runs}    forged_handles(atol(argv[4]));\n    arguments_end();\n    return 0;\n}}").unwrap();
    (code, names)
}

#[test]
fn every_function_withstands_every_special_value_of_every_argument() {
    let (code, mut names) = program();
    let (relay, scratch) = (Relay::start(), Scratch::new());
    let source = scratch.file("arguments.c", code.as_bytes());
    let mut command = Mode::Plain.command(source.to_str().unwrap(), relay.args());
    command.arg("1000000").env("TMPDIR", scratch.path(""));
    let done = Running::start(command).finish().exits(0);
    let mut covered: Vec<_> = done.stdout.lines().filter_map(|line| line.strip_prefix("covers ")).collect();
    covered.sort_unstable();
    names.sort_unstable();
    assert_eq!(covered, names);
    let exports = std::fs::read_to_string(root().join("tests/abi/exports.txt")).unwrap();
    let mut exports: Vec<_> = exports.split_whitespace().collect();
    exports.sort_unstable();
    assert_eq!(covered, exports, "a function is exported and not in the header, or the other way round");
    let cases = done.stdout.lines().find_map(|line| line.strip_prefix("cases ")?.parse::<u32>().ok()).unwrap();
    eprintln!("{cases} cases");
    assert!(cases >= 2_000, "{cases}");
}
