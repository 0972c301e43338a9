"""Names that methods of many things bear: alone, such a name says nothing of what it is called on.

Those of the languages' own types, and of the verbs that every second library uses.
"""

from __future__ import annotations

import re
from io import TextIOWrapper
from pathlib import Path

MIN_CHARS = 5
"""Of a method's name that no other thing is likely to have."""

_VERBS = (
    "accept apply attach before after begin bind build cancel check clone collect commit compile "
    "configure connect consume contains create decode delete describe destroy detach dispatch "
    "display dispose drain empty enable encode equals every execute exists fetch filter finish "
    "flush generate handle initialize invoke length limit listen load locate match merge notify "
    "observe parse perform prepare process produce publish query receive record reduce refresh "
    "register release reload remove render report request reset resize resolve restore resume "
    "return rollback search select shutdown start state status store stream submit subscribe "
    "teardown transform trigger unregister unsubscribe update upload validate value values verify "
    "visit warning write yield"
)
_SCRIPT = (
    "addeventlistener allsettled apply assign bind catch charat charcodeat codepointat concat "
    "constructor dispatchevent endswith entries every fill filter finally find findindex findlast "
    "findlastindex flat flatmap foreach freeze from fromcharcode fromentries getattribute getday "
    "getelementbyid getfullyear gethours getminutes getmonth getseconds gettime hasown "
    "hasownproperty includes indexof isarray isinteger isnan join keys lastindexof localecompare "
    "matchall normalize padend padstart parsefloat parseint preventdefault "
    "queryselector queryselectorall reduce reduceright removeeventlistener repeat replace "
    "replaceall reverse setattribute settime shift slice some sort splice split startswith "
    "stoppropagation stringify substr substring then toexponential tofixed "
    "toisostring tojson tolocalestring tolocaleuppercase tolocalelowercase tolowercase toprecision "
    "tostring touppercase toreversed tosorted tospliced trim trimend trimleft trimright trimstart "
    "unshift valueof values"
)
_JAVA = (
    "addall allmatch anymatch apply aslist collect compareto comparetoignorecase "
    "computeifabsent computeifpresent contains containsall containskey containsvalue charat "
    "descendingmap distinct doublevalue endswith ensurecapacity entryset equals equalsignorecase "
    "findany findfirst firstelement flatmap floatvalue foreach format getbytes getcause getclass "
    "getkey getmessage getname getordefault getvalue hashcode hasnext indexof intvalue isempty "
    "ispresent iterator keyset lastindexof limit listiterator longvalue maptoint maptoobj matches "
    "nextelement nonematch notifyall orelse orelseget orelsethrow parallelstream pollfirst "
    "printf println printstacktrace putall putifabsent readline removeall removefirst removelast "
    "removeif replaceall retainall setlength sorted spliterator startswith stream stripindent "
    "sublist substring toarray tochararray tolist tolowercase tostring touppercase valueof"
)
_RUST = (
    "and_then as_bytes as_mut as_ref as_slice as_str borrow borrow_mut chars chunks clone cloned "
    "collect copied drain ends_with entry enumerate expect extend filter_map find_map first "
    "flat_map flatten fold get_mut get_or_insert_with insert into_iter into_inner is_empty is_err "
    "is_none is_ok is_some iter iter_mut last lines lock map_err ok_or ok_or_else or_else "
    "or_insert or_insert_with parse peekable position push_str read_line read_to_string recv "
    "remove retain skip_while spawn split_at split_whitespace starts_with step_by sum swap "
    "take_while to_lowercase to_owned to_string to_uppercase to_vec trim try_into unwrap unwrap_or "
    "unwrap_or_default unwrap_or_else with_capacity windows write_all write_str zip"
)
_GO = (
    "Errorf Error Fatal Fatalf Logf Skipf Helper Cleanup Parallel TempDir Setenv Printf Println "
    "Sprintf Fprintf WriteString WriteByte WriteRune ReadAll ReadByte ReadString Unlock RLock "
    "RUnlock Wait Done Signal Broadcast LoadOrStore Store Marshal Unmarshal MarshalJSON "
    "UnmarshalJSON ServeHTTP Header WriteHeader Context Deadline Value String GoString Scan Bytes"
)
_C = (
    "emplace emplace_back push_back push_front pop_back pop_front begin cbegin rbegin clear data "
    "empty erase front back insert resize reserve size substr c_str find_first_of find_last_of "
    "lower_bound upper_bound shrink_to_fit capacity max_size swap assign compare length"
)
_TYPES = (str, bytes, list, dict, set, int, float, Exception, re.Pattern, Path, TextIOWrapper)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


_COMMON = frozenset(
    map(_plain, " ".join((_VERBS, _SCRIPT, _JAVA, _RUST, _GO, _C)).split())
) | frozenset(_plain(name) for kind in _TYPES for name in dir(kind))


def is_telling(name: str) -> bool:
    """Tell whether a method's name is likely to be that of one thing alone."""
    plain = _plain(name)
    return len(plain) >= MIN_CHARS and plain not in _COMMON
