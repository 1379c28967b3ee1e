# What jq defines and jaq does not, or defines otherwise.

def debug: .;
def debug(messages): (messages | empty), .;
def stderr: .;
def halt_error: halt(5);
def halt_error($code): halt($code);
def env: {};
def input: error("No more inputs");
def inputs: empty;
def input_filename: null;
def input_line_number: 0;
def have_literal_numbers: true;
def have_decnum: false;

def isfinite: type == "number" and (isinfinite | not);
def numbers: select(type == "number");
def strings: select(type == "string");
def booleans: select(type == "boolean");
def arrays: select(type == "array");
def objects: select(type == "object");
def iterables: select(type | . == "array" or . == "object");
def scalars: select(type | . != "array" and . != "object");
def normals: select(isnormal);
def finites: select(isfinite);

def toarray: if type == "array" then . else [.] end;
def _flatten($depth): reduce .[] as $x ([];
  if ($x | type) == "array" and $depth != 0 then . + ($x | _flatten($depth - 1)) else . + [$x] end);
def flatten($depth): if $depth < 0 then error("flatten depth must not be negative") else _flatten($depth) end;
def flatten: _flatten(-1);
def transpose: [range(map(length) | max // 0) as $i | [.[][$i]]];
def combinations: if length == 0 then [] else
  .[0][] as $x | (.[1:] | combinations) as $rest | [$x] + $rest end;
def combinations(n): . as $dot | [range(n) | $dot] | combinations;
def walk(f): def w: if type == "object" then map_values(w) elif type == "array" then map(w) else . end | f; w;
def in(xs): . as $x | xs | has($x);
def inside(xs): . as $x | xs | contains($x);
def index($x): indices($x) | .[0];
def rindex($x): indices($x) | .[-1:][0];

def to_entries: [keys_unsorted[] as $key | {$key, value: .[$key]}];
def from_entries: reduce .[] as $x ({}; . + ($x | {
  (if .key == null then .k // .name // .Name // .K // .Key else .key end):
  (if has("value") then .value elif has("v") then .v else .Value end)}));
def with_entries(f): to_entries | map(f) | from_entries;

def del(f): delpaths([path(f)]);
def leaf_paths: paths(scalars);
def pick(f): . as $in | reduce path(f) as $path (null; setpath($path; $in | getpath($path)));
def tostream: path(def r: (.[]? | r), .; r) as $p | getpath($p) | reduce path(.[]?) as $q ([$p, .]; [$p + $q]);
def fromstream(f): {x: null, e: false} as $start | foreach f as $i ($start;
  if .e then $start else . end
  | if ($i | length) == 2
    then setpath(["e"]; ($i[0] | length) == 0) | setpath(["x"] + $i[0]; $i[1])
    else setpath(["e"]; ($i[0] | length) == 1) end;
  if .e then .x else empty end);
def truncate_stream(f): . as $depth | null | f | . as $input
  | if (.[0] | length) > $depth then setpath([0]; $input[0][$depth:]) else empty end;

def IN(f): any(f == .; .);
def IN(f; g): any(f == g; .);
def INDEX(f; key): reduce f as $row ({}; .[$row | key | tostring] = $row);
def INDEX(key): INDEX(.[]; key);
def GROUP_BY(key): group_by(key);
def JOIN($index; key): [.[] | [., $index[key]]];
def JOIN($index; f; key): f | [., $index[key]];
def JOIN($index; f; key; join): f | [., $index[key]] | join;

def ascii: [.] | implode;
def trimstr($x): ltrimstr($x) | rtrimstr($x);
def split($separator): _split($separator);

def match($re; $flags): _matches($re; $flags)[];
def match($re): if $re | type == "array" then match($re[0]; $re[1]) else match($re; null) end;
def test($re; $flags): _matches($re; $flags) | length > 0;
def test($re): if $re | type == "array" then test($re[0]; $re[1]) else test($re; null) end;
def _names: [.captures[] | select(.name != null) | {(.name): .string}] | add // {};
def capture($re; $flags): match($re; $flags) | _names;
def capture($re): match($re) | _names;
def scan($re; $flags): match($re; "g" + $flags) | if .captures == [] then .string else [.captures[].string] end;
def scan($re): scan($re; null);
def splits($re; $flags): _parts($re; "g" + $flags)[] | select(type == "string");
def splits($re): splits($re; null);
def split($re; $flags): [splits($re; $flags)];
def sub($re; f; $flags): reduce _parts($re; $flags)[] as $part ("";
  . + ($part | if type == "string" then . else f end));
def sub($re; f): sub($re; f; null);
def gsub($re; f; $flags): sub($re; f; "g" + $flags);
def gsub($re; f): sub($re; f; "g");

def todateiso8601: strftime("%Y-%m-%dT%H:%M:%SZ");
def fromdateiso8601: strptime("%Y-%m-%dT%H:%M:%SZ") | mktime;
def todate: todateiso8601;
def fromdate: fromdateiso8601;
def date: todate;
def dateadd(unit; n): . + n;
def datesub(unit; n): . - n;
def localtime: gmtime;
def strflocaltime($format): strftime($format);

def @json: tojson;
def @csv: _row("csv");
def @tsv: _row("tsv");
def @sh: [if type == "array" then .[] else . end
  | if type == "string" then "'\(escape_sh)'"
    elif type == "array" or type == "object" then error("\(type) can not be escaped for shell")
    else tostring end] | join(" ");
def @base32: _base32;
def @base32d: _base32d;
