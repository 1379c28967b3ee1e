use super::*;

use std::collections::BTreeSet;

use proptest::prelude::*;

fn run(text: &str, input: &Val) -> Result<Option<Val>, EvalError> {
    first(&compile(text, Quotes::Jq).unwrap_or_else(|error| panic!("{text}: {error}")), input)
}

fn parse(json: &str) -> Val {
    Val::parse(json.as_bytes()).unwrap()
}

/// The first output as JSON; null if there is none.
fn output(text: &str, input: &str) -> String {
    let output = run(text, &parse(input)).unwrap_or_else(|error| panic!("{text}: {error}"));
    output.unwrap_or_default().to_json(1 << 20).unwrap()
}

/// The contents of `testdata/jq.txt`: an expression, then inputs and outputs in turn.
fn corpus() -> Vec<(String, Vec<(Val, Val)>)> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/jq.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let line = parse(line);
            let (program, pairs) = line.items().unwrap().split_first().unwrap();
            let pairs = pairs.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone()));
            (program.as_str().unwrap().to_owned(), pairs.collect())
        })
        .collect()
}

#[test]
fn the_expressions_of_public_mappings_give_what_jq_gives() {
    let mut evaluated = 0;
    for (text, pairs) in corpus() {
        let program = match compile(&text, Quotes::Port) {
            Ok(program) => program,
            Err(error) => {
                assert!(pairs.is_empty(), "{text}: {error}");
                continue;
            }
        };
        assert!(!pairs.is_empty(), "jq refuses {text}");
        for (input, answer) in pairs {
            let ours = first(&program, &input).ok().flatten().unwrap_or_default();
            assert_eq!(ours.to_json(1 << 20), answer.to_json(1 << 20), "{text} on {input}");
            evaluated += 1;
        }
    }
    assert!(evaluated > 300, "{evaluated}");
}

#[test]
fn what_a_program_does_not_read_does_not_change_what_it_gives() {
    let mut restricted = 0;
    for (text, pairs) in corpus() {
        let Ok(program) = compile(&text, Quotes::Port) else { continue };
        let Reads::Names(names) = program.reads() else { continue };
        for (input, _) in pairs {
            let Some(fields) = input.fields() else { continue };
            let fields = fields.filter(|(key, _)| names.contains(&***key));
            let less = Val::object(fields.map(|(key, value)| (key.clone(), value.clone())));
            assert_eq!(first(&program, &input), first(&program, &less), "{text} reads {names:?} of {input}");
            restricted += 1;
        }
    }
    assert!(restricted > 300, "{restricted}");
}

/// Programs that pass on their input in every possible way.
fn programs() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        ".",
        ".a",
        ".b",
        ".[\"c\"]",
        ".\"a\"",
        "$x",
        "1",
        "\"s\"",
        "null",
        "..",
        ".a?",
        ".[]?",
        "keys",
        "has(\"b\")",
        "type",
        "{a}",
        "{b: .}",
        ".[$x]?",
        "length",
        "{$x}",
        "tojson",
        "not",
        "empty",
        "\"\\(.a)\"",
        "to_entries",
        ".a.b",
        "$ENV",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
        let forms = vec![
            "(L | R)",
            "(L, R)",
            "(L // R)",
            "(L + R)",
            "(L == R)",
            "(L and R)",
            "[L]",
            "{k: L, (R | tostring): 1}",
            "(if L then R else . end)",
            "(if L then R end)",
            "(L as $x | R)",
            "(L as {a: $x} | R)",
            "(L as {$a} | $a)",
            "(reduce L as $x (.; R))",
            "(foreach L as $x (R; .; [., $x]))",
            "(try L catch R)",
            "(L?)",
            "select(L)",
            "first(L)",
            "map(L)?",
            "(L | .a)",
            "(.a = L)?",
            "(.b |= L)?",
            "del(L)?",
            "any(L)?",
            "(label $f | L)",
            "([limit(2; L)] | R)",
            "(L as [$x] | R)?",
            "(-L)?",
            "path(L)?",
            "(L | select(R) | .c)",
            "isempty(L)",
        ];
        (prop::sample::select(forms), inner.clone(), inner)
            .prop_map(|(form, l, r)| form.replace('L', &l).replace('R', &r))
    })
}

proptest! {
    #[test]
    fn a_program_reads_no_key_that_it_does_not_name(text in programs()) {
        let program = compile(&format!("0 as $x | {text}"), Quotes::Jq).unwrap();
        if let Reads::Names(names) = program.reads() {
            let whole = [("a", "{\"b\": 1, \"c\": [2]}"), ("b", "\"c\""), ("c", "[1, \"a\"]"), ("d", "5")];
            let object = |names: Option<&BTreeSet<String>>| {
                let fields = whole.iter().filter(|(key, _)| names.is_none_or(|names| names.contains(*key)));
                Val::object(fields.map(|(key, value)| ((*key).into(), parse(value))))
            };
            prop_assert_eq!(first(&program, &object(None)), first(&program, &object(Some(names))), "{:?}", names);
        }
    }
}

#[test]
fn the_keys_that_a_program_reads_are_followed_to_where_it_reads_them() {
    let names = |names: &[&str]| Reads::Names(names.iter().map(|name| (*name).to_owned()).collect());
    for (text, reads) in [
        (".a", names(&["a"])),
        (".a.b | .c", names(&["a"])),
        (".[\"a\"], .\"b\" // .c[0]", names(&["a", "b", "c"])),
        (". as $row | .a | split(\"/\") | map(. + $row.b)", names(&["a", "b"])),
        ("if .a then .b else \"x\" end | ascii_downcase", names(&["a", "b"])),
        ("{x: .a, b}", names(&["a", "b"])),
        ("\"\\(.a)/\\(.b)\"", names(&["a", "b"])),
        (". as {a: $x} | reduce .b[] as $y ($x; . + $y)", names(&["a", "b"])),
        ("select(.a) | has(\"b\")", names(&["a", "b"])),
        ("\"azureResource\"", names(&[])),
        ("env.HOME", names(&[])),
        ("$ENV.a", names(&[])),
        (".", Reads::Everything),
        ("..", Reads::Everything),
        ("keys", Reads::Everything),
        (".[.a]", Reads::Everything),
        (".a as $k | .[$k]", Reads::Everything),
        ("to_entries", Reads::Everything),
        ("[.] | .[0].a", Reads::Everything),
        ("def f: .a; f", Reads::Everything),
        (".a |= 1 | .b", Reads::Everything),
    ] {
        assert_eq!(*compile(text, Quotes::Jq).unwrap().reads(), reads, "{text}");
    }
}

#[test]
fn no_program_goes_on_beyond_what_an_evaluation_may_use() {
    let doubled = "reduce range(100) as $i (1; [., .])";
    let endless = [
        "def f: f; f",
        "def f: 1 + f; f",
        "def f: [f]; f",
        "def f: {a: f}; f",
        "def f(g): f(g + 1); f(1)",
        "def f(g): f(g); f(1)",
        "def f(a; b): f(b; a | b); f(1; 2)",
        "def f: try error(f) catch f; f",
        "[range(1e12)]",
        "last(range(1e12))",
        "last(repeat(1))",
        "[limit(1e9; repeat(1))]",
        "[recurse(. + 1)]",
        "last(recurse([.]))",
        "until(false; .)",
        "foreach range(1e9) as $i (0; . + 1; empty)",
        "first(range(1e9) | select(. < 0))",
        "label $out | repeat(1) | empty",
        "reduce range(100) as $i (\"a\"; . + .)",
        "reduce range(1e6) as $i (0; [.])",
        "\"a\" * 1e10",
        "(\"a\" * 1e6) as $a | [range(1000) | $a] | join(\",\")",
        "(\"a\" * 1e6) as $a | [range(1000) | $a] | @csv",
        "\"a\" * 3e6",
        "[range(1000)] | combinations(3) | select(. == 0)",
        "path(last(repeat(.[0])))",
        "path(reduce range(1e6) as $i (.; .[0]))",
        "\"a\" * 1e5 | [match(\"\"; \"g\")]",
        "\"a\" * 1e6 | gsub(\".*b|a\"; \"c\")",
        "[range(1e5)] | . as $a | [$a[] as $x | $a[] as $y | 1]",
        "[repeat(walk(.))]",
    ]
    .map(str::to_owned);
    let doubled =
        ["tojson", "tostring", "last(..)", "[.. | numbers] | add", "flatten", "walk(1)", "sort", "{(tojson): 1}"]
            .map(|text| format!("{doubled} | {text}"));
    for text in endless.into_iter().chain(doubled) {
        for text in
            [text.clone(), format!("try ({text}) catch 1"), format!("first(({text})?, 1)"), format!("[({text}) // 1]")]
        {
            // `last` makes a program that never ends run on past its first output.
            let result = run(&format!("last({text})"), &Val::Null);
            assert!(matches!(result, Err(EvalError::TooMuch(_))), "{text}: {result:?}");
        }
    }
}

#[test]
fn an_expression_may_be_nested_as_deep_as_it_can_be_long() {
    for (before, part, middle, close) in [
        ("", "(", "1", ")"),
        ("", "[", "1", "]"),
        ("", "-", "1", ""),
        ("", ".a+", "1", ""),
        ("", ".a|", "1", ""),
        ("1", ",1", "", ""),
        ("1", "//1", "", ""),
        ("1", "?", "", ""),
        ("1", " and 1", "", ""),
        ("", ". as $x|", "1", ""),
        (". as ", "[", "$x", "]"),
        ("", "\"\\(", "1", ")\""),
        ("", "try ", "1", ""),
        ("", "def f: 1;", "f", ""),
        ("", "label $x|", "1", ""),
        ("", "reduce 1 as $x(0;", "1", ")"),
        ("", "if 1 then ", "1", " end"),
    ] {
        let times = (LONGEST - 20) / (part.len() + close.len());
        let after = if before == ". as " { "|1" } else { "" };
        let text = format!("{before}{}{middle}{}{after}", part.repeat(times), close.repeat(times));
        let program = compile(&text, Quotes::Jq).unwrap_or_else(|error| panic!("{part}: {error}"));
        for input in [Val::Null, Val::array([])] {
            // It is enough that the call returns.
            assert!(!matches!(first(&program, &input), Ok(None)), "{part}");
        }
    }
    for (before, part, after) in [("", ".a", ""), ("path(.", "[]?", ")"), ("", ".a", " |= 1")] {
        let text = |times| format!("{before}{}{after}", part.repeat(times));
        let refused = compile(&text(LONGEST_PATH + 1), Quotes::Jq).err().unwrap();
        assert_eq!(refused.message, "a path in it has more than 100 parts");
        assert!(first(&compile(&text(LONGEST_PATH), Quotes::Jq).unwrap(), &Val::Null).is_ok());
    }
    assert!(compile(&"1".repeat(LONGEST + 1), Quotes::Jq).is_err());
}

#[test]
fn an_expression_that_is_not_jq_is_refused_with_its_place() {
    for (text, at, message) in [
        (".a | foo", 6, "there is no function foo/0"),
        ("\"é\" | $x", 7, "there is no variable $x"),
        (".a | map(.b", 12, "a closing parenthesis is missing"),
        (".a + ", 6, "it ends where term is expected"),
        (".a )", 4, "`)` means nothing here"),
        ("if .a then 1 els 2 end", 14, "`els` stands where else or end is expected"),
        ("include \"x\"; .", 10, "other files cannot be read from here"),
        ("", 1, "it ends where term is expected"),
    ] {
        let refused = compile(text, Quotes::Jq).map(|_| ()).unwrap_err();
        assert_eq!((refused.at, refused.message.as_str()), (at, message), "{text}");
    }
}

#[test]
fn only_a_quote_at_the_edge_of_a_word_is_one_of_ports() {
    for (text, replaced) in [
        ("'a' + .b", "\"a\" + .b"),
        (".a == 'x y'", ".a == \"x y\""),
        (".a | split('/')", ".a | split('/')"),
        ("(.a=='x')", "(.a=='x')"),
        ("\"it's\"", "\"it's\""),
        ("' a '", "' a '"),
        ("'\"a\"'", "'\"a\"'"),
        ("'", "'"),
    ] {
        assert_eq!(quotes::replaced(text), replaced);
    }
    assert!(compile(".a == 'x'", Quotes::Port).is_ok());
    assert!(compile(".a == 'x'", Quotes::Jq).is_err());
}

#[test]
fn a_program_sees_its_input_and_nothing_else() {
    for (text, answer) in [
        ("[env, $ENV, input_filename, $__loc__.line]", "[{},{},null,1]"),
        ("[inputs]", "[]"),
        ("try input catch .", "\"No more inputs\""),
        ("1 | debug | stderr", "1"),
        ("halt", "null"),
        ("\"x\" | halt_error", "null"),
        ("0 | localtime[0:3] == gmtime[0:3]", "true"),
    ] {
        assert_eq!(output(text, "null"), answer, "{text}");
    }
}

#[test]
fn values_are_jqs_values() {
    for (text, answer) in [
        (
            "[1e15, 1e16, 0.0001, 0.00001, 1.5e300, 3.0, 0.1, 123456789012]",
            "[1000000000000000,1e+16,0.0001,1e-05,1.5e+300,3,0.1,123456789012]",
        ),
        ("9007199254740993", "9007199254740992"),
        ("[nan, infinite, -infinite]", "[null,1.7976931348623157e+308,-1.7976931348623157e+308]"),
        ("[nan] | sort | tojson", "\"[null]\""),
        ("[nan < nan, nan == nan, null < false, \"a\" < [], {} > []]", "[true,false,true,true,true]"),
        (".[:2]", "null"),
        ("\"aé😀b\" | .[1:3]", "\"é😀\""),
        ("[1,2,3] | [.[-1], .[5], .[1:], .[:-1]]", "[3,null,[2,3],[1,2]]"),
        ("[1,2] | .[4] = 1", "[1,2,null,null,1]"),
        ("[1,2,3,4] | .[1:3] = [9]", "[1,9,4]"),
        ("null | .a.b += 1", "{\"a\":{\"b\":1}}"),
        ("{} | del(.a.b)", "{}"),
        ("[1,2,3,4] | del(.[0,2])", "[2,4]"),
        (
            "{\"b\":1,\"a\":2} | del(.b) | .c = 3 | [keys_unsorted, tojson]",
            "[[\"a\",\"c\"],\"{\\\"a\\\":2,\\\"c\\\":3}\"]",
        ),
        ("[\"abc\" * 0, \"abc\" * -1, \"ab\" * 2.5]", "[\"\",null,\"abab\"]"),
        ("[5 % 3, -5 % 3, 5 % -3]", "[2,-2,2]"),
        ("{\"a\":{\"b\":1}} * {\"a\":{\"c\":2}}", "{\"a\":{\"b\":1,\"c\":2}}"),
        ("try (1 / 0) catch .", "\"number (1) and number (0) cannot be divided because the divisor is zero\""),
        ("try ({} | .[0]) catch .", "\"Cannot index object with number\""),
        ("try (\"x\" | .a) catch .", "\"Cannot index string with \\\"a\\\"\""),
        ("try ({(1): 2}) catch .", "\"Cannot use number (1) as object key\""),
        (
            "try (null | contains(\"a\")) catch .",
            "\"null (null) and string (\\\"a\\\") cannot have their containment checked\"",
        ),
        ("[range(3000) | \"abcdefghij\"] | join(\"--\") | length", "35998"),
        ("[[null, \"a\", 1, true] | join(\"_\")]", "[\"_a_1_true\"]"),
        (
            "\"aXb\" | [match(\"(?<n>x)|(z)\"; \"gi\").captures[] | [.offset, .string, .name]]",
            "[[1,\"X\",\"n\"],[-1,null,null]]",
        ),
        ("\"test é ß\" | gsub(\"(?<l>\\\\p{L}+)\"; \"<\\(.l)>\")", "\"<test> <é> <ß>\""),
        ("\"a, b,c\" | [splits(\", *\")]", "[\"a\",\"b\",\"c\"]"),
        ("\"2015-03-05T23:51:47Z\" | fromdate | [., todate]", "[1425599507,\"2015-03-05T23:51:47Z\"]"),
        ("[\"2015-03-05T23:51:47.123Z\" | fromdate?]", "[]"),
        (
            "[\"ä\" | @base64, @base32, @uri, @html, @sh, @json]",
            "[\"w6Q=\",\"YOSA====\",\"%C3%A4\",\"ä\",\"'ä'\",\"\\\"ä\\\"\"]",
        ),
        ("[\"YOSA====\" | @base32d] + [\"YQ\" | @base64d]", "[\"ä\",\"a\"]"),
        ("[[1, \"a\\\"b\", null, true] | @csv, @tsv]", "[\"1,\\\"a\\\"\\\"b\\\",,true\",\"1\\ta\\\"b\\t\\ttrue\"]"),
        ("[2, 3] | [IN(2, 3), any(.[]; IN(3)), INDEX(.)]", "[false,true,{\"2\":2,\"3\":3}]"),
        ("[[1, [2, [3]]] | flatten, flatten(1)]", "[[1,2,3],[1,2,[3]]]"),
        ("{\"a\": [1]} | [paths] , 1", "[[\"a\"],[\"a\",0]]"),
        ("[{\"a\": [1, 2]} | tostream] | [fromstream(.[])]", "[{\"a\":[1,2]}]"),
    ] {
        assert_eq!(output(text, "null"), answer, "{text}");
    }
}

#[test]
fn json_is_written_up_to_a_limit_and_no_further() {
    let value = parse("{\"a\": [\"é\\n\\u0001\", 1.5]}");
    let json = "{\"a\":[\"é\\n\\u0001\",1.5]}";
    assert_eq!(value.to_json(json.len()).as_deref(), Some(json));
    assert_eq!(value.to_json(json.len() - 1), None);
    assert!(Val::parse("[".repeat(200).as_bytes()).is_err());
}

#[test]
fn what_an_error_says_is_bounded() {
    let long = format!("\"{}\"", "a".repeat(5000));
    for text in ["error", ".a", "error([.])", "tonumber", "test(.a)?, error(. + .)"] {
        let Err(EvalError::Failed(message)) = run(text, &parse(&long)) else { panic!("{text} fails") };
        assert!(message.chars().count() <= 330, "{text}: {message}");
    }
}
