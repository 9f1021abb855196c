import re

_C = re.compile(rb"\s*+ SET \s (?: (?!CURRENT_|LOCALTIME|UTC_) [^(;] )*+ \Z", re.I | re.X)


def assigned(sql: bytes) -> frozenset[str] | None:
    if (
        _C.match(sql)
        and b"@@" not in sql
        and not re.match(rb"SET\s+(ROLE|PASSWORD|GLOBAL|autocommit)", sql, re.I)
    ):
        return frozenset(re.findall(r"(@?\w+)\s*=", sql.decode()) or [sql.decode()[:30]])
    return None
