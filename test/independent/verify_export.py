#!/usr/bin/env python3
"""Verifies exports of the ledger. Written from src/money/ledger/README.md alone; needs Python 3.8 and nothing else.

    python3 test/independent/verify_export.py FILE...

prints one line a file, `VERIFIED` or `REFUSED line N: why`, and exits with 1 when any file was refused. `-` is
standard input. It shares no code with `coffer verify`, so a mistake in one is not a mistake in both.
"""

import hashlib
import json
import re
import sys
from datetime import datetime

COLUMNS = (
    "account_id", "seq", "id", "kind", "debit_account", "credit_account", "amount_micros", "lot_id",
    "posted_after_micros", "reference", "leg", "link_id", "actor", "memo", "created_at", "previous_hash", "hash",
)
HASHED = COLUMNS[:15]
NULLABLE = {"lot_id", "memo"}
BARE = {"seq", "amount_micros", "posted_after_micros", "leg", "created_at", "previous_hash", "hash"}
END_MARK = "end_of_export"
END_MEMBERS = ("object", "rows", "from", "to", "account", "exported_at", "digest")
END_NULLABLE = {"from", "to", "account"}

RECORD_BYTES_MAX = 65_536
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
GENESIS = "0" * 64
PLATFORM = "acct_platform"
CUSTOMER = {"customer_credit", "customer_promo"}

POSTING_RULES = {
    "capture": {("customer_promo", "usage_revenue"), ("customer_credit", "usage_revenue")},
    "debit": {("customer_promo", "usage_revenue"), ("customer_credit", "usage_revenue")},
    "top_up": {("stripe_clearing", "customer_credit")},
    "top_up_fee": {("stripe_clearing", "platform_fee_revenue")},
    "top_up_tax": {("stripe_clearing", "tax_payable")},
    "grant": {("promotional_credit", "customer_promo")},
    "expiry": {("customer_promo", "promotional_credit"), ("customer_credit", "breakage_revenue")},
    "refund": {("customer_credit", "stripe_clearing")},
    "refund_fee": {("platform_fee_revenue", "stripe_clearing")},
    "refund_tax": {("tax_payable", "stripe_clearing")},
    "refund_excess": {("dispute_losses", "stripe_clearing")},
    "dispute": {("customer_credit", "stripe_clearing")},
    "dispute_fee": {("platform_fee_revenue", "stripe_clearing")},
    "dispute_tax": {("tax_payable", "stripe_clearing")},
    "dispute_excess": {("dispute_losses", "stripe_clearing")},
    "reinstatement": {("stripe_clearing", "customer_credit")},
    "reinstatement_fee": {("stripe_clearing", "platform_fee_revenue")},
    "reinstatement_tax": {("stripe_clearing", "tax_payable")},
    "reinstatement_excess": {("stripe_clearing", "dispute_losses")},
    "write_off": {("dispute_losses", "customer_credit")},
    "write_off_reversal": {("customer_credit", "dispute_losses")},
    "adjustment": {("goodwill", "customer_credit"), ("customer_credit", "goodwill")},
    "processor_fee": {("processor_fees", "stripe_clearing")},
    "processor_fee_return": {("stripe_clearing", "processor_fees")},
    "payout": {("bank", "stripe_clearing")},
    "payout_return": {("stripe_clearing", "bank")},
    "upstream_cost": {("upstream_cost", "upstream_payable")},
    "unapplied_payment": {("stripe_clearing", "unapplied_payments")},
    "unapplied_payment_release": {("unapplied_payments", "stripe_clearing")},
}
PLATFORM_KINDS = {
    "processor_fee",
    "processor_fee_return",
    "payout",
    "payout_return",
    "upstream_cost",
    "unapplied_payment",
    "unapplied_payment_release",
}


class Refused(Exception):
    """The file breaks a rule at this line."""

    def __init__(self, line, why):
        super().__init__(f"line {line}: {why}")


# ---------------------------------------------------------------------------------------------------------------------
# From bytes to records


def read_records(stream):
    """Yields (line, record), the bytes of each record without its line end; the first says what format the file is."""
    line = 1
    text = stream.readline(RECORD_BYTES_MAX + 8)
    if text.startswith(BYTE_ORDER_MARK):
        text = text[len(BYTE_ORDER_MARK):]
    is_csv = not text.startswith(b"{")
    while text:
        started = line
        record = text
        # A line feed that has an odd number of quotes before it is a part of a cell.
        while is_csv and record.count(b'"') % 2 == 1:
            if len(record) > RECORD_BYTES_MAX + 2:
                raise Refused(started, "the record is too long")
            more = stream.readline(RECORD_BYTES_MAX + 8)
            if not more:
                break
            line += 1
            record += more
        line += 1
        if record.endswith(b"\n"):
            record = record[:-1]
        if is_csv and record.endswith(b"\r"):
            record = record[:-1]
        if len(record) > RECORD_BYTES_MAX:
            raise Refused(started, "the record is too long")
        try:
            yield started, is_csv, record.decode("utf-8", "strict")
        except UnicodeDecodeError:
            raise Refused(started, "not UTF-8") from None
        text = stream.readline(RECORD_BYTES_MAX + 8)
    yield line, is_csv, None


# ---------------------------------------------------------------------------------------------------------------------
# JSONL


def to_json(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def read_json(line, text):
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(line, "not JSON") from None
    if not isinstance(value, dict):
        raise Refused(line, "not an object")
    is_end = value.get("object") == END_MARK
    members, nullable = (END_MEMBERS, END_NULLABLE) if is_end else (COLUMNS, NULLABLE)
    if tuple(value) != members:
        raise Refused(line, "other members, or in another order")
    for name, member in value.items():
        if not isinstance(member, str) and not (member is None and name in nullable):
            raise Refused(line, f"{name} is not a string")
    if to_json(value) != text:
        raise Refused(line, "another spelling")
    return is_end, value


# ---------------------------------------------------------------------------------------------------------------------
# CSV

CELL = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\Z)')
NEEDS_QUOTES = re.compile(r'[",\r\n]')

START = "(^|[;\t\r\n])"
BLANKS = '(["\t-\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]*)'
SIGN = "(?=[=+\\-@\uff1d\uff0b\uff0d\uff20])"
UNSAFE = re.compile(START + BLANKS + "('*)" + SIGN)
SAFE = re.compile(START + BLANKS + "'('*)" + SIGN)
APOSTROPHES = re.compile("'*")


def read_cells(line, text):
    cells = []
    at = 0
    while True:
        match = CELL.match(text, at)
        if match is None:
            raise Refused(line, "the quotes are wrong")
        quoted, plain, separator = match.groups()
        if quoted is not None and NEEDS_QUOTES.search(quoted) is None:
            raise Refused(line, "quotes that are not needed")
        cells.append(plain if quoted is None else quoted.replace('""', '"'))
        if separator == "":
            return cells
        at = match.end()


def to_cell(text):
    if text is None:
        return ""
    if APOSTROPHES.fullmatch(text):
        return "'" + text
    return UNSAFE.sub(r"\1\2'\3", text)


def from_cell(cell):
    if cell == "":
        return None
    if APOSTROPHES.fullmatch(cell):
        return cell[1:]
    return SAFE.sub(r"\1\2\3", cell)


def read_csv(line, text):
    cells = read_cells(line, text)
    if len(cells) != len(COLUMNS):
        raise Refused(line, "not seventeen cells")
    if cells[0] == END_MARK:
        return True, read_csv_end(line, dict(zip(COLUMNS, cells)))
    row = {}
    for name, cell in zip(COLUMNS, cells):
        row[name] = cell if name in BARE else from_cell(cell)
        if name in BARE:
            continue
        if row[name] is None and name not in NULLABLE:
            raise Refused(line, f"{name} is empty")
        if to_cell(row[name]) != cell:
            raise Refused(line, f"{name} is spelt in another way")
    return False, row


def read_csv_end(line, cells):
    memo = re.fullmatch(r"from=([^ ]+) to=([^ ]+) account=(.+)", cells["memo"], re.DOTALL)
    if memo is None:
        raise Refused(line, "the range is spelt in another way")
    used = {"account_id", "seq", "memo", "created_at", "hash"}
    if any(cell != "" for name, cell in cells.items() if name not in used):
        raise Refused(line, "more cells than an end has")
    begin, to, account = (None if part == "-" else part for part in memo.groups())
    return {
        "object": END_MARK, "rows": cells["seq"], "from": begin, "to": to, "account": account,
        "exported_at": cells["created_at"], "digest": cells["hash"],
    }


# ---------------------------------------------------------------------------------------------------------------------
# The forms of values

NO_CHARACTER = re.compile("[\x00\ud800-\udfff]")
SEQ = re.compile("[1-9][0-9]{0,14}")
COUNT = re.compile("0|[1-9][0-9]{0,14}")
LEG = re.compile("0|[1-9][0-9]{0,4}")
AMOUNT = re.compile("0|-?[1-9][0-9]{0,18}")
HASH = re.compile("[0-9a-f]{64}")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


def is_time(text):
    if not TIME.fullmatch(text):
        return False
    try:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
    except ValueError:
        return False
    return text[17:19] < "60"  # strptime knows leap seconds.


def is_account(text):
    return text.startswith("acct_") and len(text) > len("acct_")


ROW_FORMS = {
    "account_id": is_account, "seq": SEQ.fullmatch, "amount_micros": AMOUNT.fullmatch,
    "posted_after_micros": AMOUNT.fullmatch, "leg": LEG.fullmatch, "created_at": is_time,
    "previous_hash": HASH.fullmatch, "hash": HASH.fullmatch,
}
END_FORMS = {
    "rows": COUNT.fullmatch, "from": is_time, "to": is_time, "account": is_account, "exported_at": is_time,
    "digest": HASH.fullmatch,
}


def check_forms(line, values, forms):
    for name, text in values.items():
        if text is None:
            continue
        if NO_CHARACTER.search(text):
            raise Refused(line, f"{name} holds what is no character")
        if name in forms and not forms[name](text):
            raise Refused(line, f"{name} has another form: {text!a}")


# ---------------------------------------------------------------------------------------------------------------------
# The rules of a book


class Lots:
    """Credit and debt, played again. In a book that begins in the middle, lots of before have unknown contents."""

    def __init__(self, from_beginning):
        self.from_beginning = from_beginning
        self.lots = {}  # lot_id -> [side, left]; left is None for a lot of before
        self.debt = 0
        self.written_off = 0  # and not owed again

    def play(self, row):
        amount = int(row["amount_micros"])
        lot_id = row["lot_id"]
        if row["credit_account"] in CUSTOMER:
            if row["kind"] == "write_off":
                return self.forgive(lot_id, amount)
            return self.open(row["credit_account"], lot_id, amount)
        if row["kind"] == "write_off_reversal":
            return self.owe_again(lot_id, amount)
        if row["debit_account"] in CUSTOMER:
            return self.take(row["debit_account"], lot_id, amount)
        return None if lot_id is None else "a lot where none belongs"

    def open(self, side, lot_id, amount):
        if lot_id is None:
            return "credit without a lot"
        if lot_id in self.lots:
            return "the lot is open already"
        if side == "customer_credit":
            repaid = min(self.debt, amount)
            self.debt -= repaid
            amount -= repaid
        if amount > 0 or not self.from_beginning:
            self.lots[lot_id] = [side, amount]
        return None

    def forgive(self, lot_id, amount):
        if lot_id in self.lots:
            return "the lot is open already"
        if lot_id is not None and not self.from_beginning:
            self.lots[lot_id] = ["customer_credit", 0]
        if amount > self.debt and self.from_beginning:
            return f"{self.debt} was owed"
        self.debt = max(self.debt - amount, 0)
        self.written_off += amount
        return None

    def owe_again(self, lot_id, amount):
        if lot_id is not None:
            return "a lot where none belongs"
        if amount > self.written_off and self.from_beginning:
            return f"{self.written_off} was written off"
        self.written_off = max(self.written_off - amount, 0)
        self.debt += amount
        return None

    def take(self, side, lot_id, amount):
        if lot_id is None:
            self.debt += amount
            return None if side == "customer_credit" else "debt of promotional credit"
        if lot_id not in self.lots:
            if self.from_beginning:
                return "the lot is not live"
            self.lots[lot_id] = [side, None]
            return None
        lot = self.lots[lot_id]
        if lot[0] != side:
            return "the lot is of the other side"
        if lot[1] is None:
            return None
        if lot[1] < amount:
            return f"the lot held {lot[1]}"
        lot[1] -= amount
        if lot[1] == 0 and self.from_beginning:
            del self.lots[lot_id]
        return None


class Book:
    """One account's rows in order."""

    def __init__(self, first):
        self.from_beginning = first["seq"] == "1"
        self.lots = Lots(self.from_beginning)
        self.references = set()
        self.before = None

    def next(self, row):
        fault = self.fault(row)
        self.before = row
        return fault

    def fault(self, row):
        account, before = row["account_id"], self.before
        if before is not None and int(row["seq"]) != int(before["seq"]) + 1:
            return "seq does not follow"
        if row["id"] != f"txn_{account[len('acct_'):]}_{row['seq'].zfill(12)}":
            return "the id is not of this account and seq"
        debit, credit = row["debit_account"], row["credit_account"]
        if (debit, credit) not in POSTING_RULES.get(row["kind"], ()):
            return "no posting rule allows this"
        if row["kind"] in PLATFORM_KINDS and account != PLATFORM:
            return "a kind of the platform's book"
        amount = int(row["amount_micros"])
        if amount < 1:
            return "an amount below 1"
        if before is not None or self.from_beginning:
            posted = 0 if before is None else int(before["posted_after_micros"])
            posted += amount * ((credit in CUSTOMER) - (debit in CUSTOMER))
            if posted != int(row["posted_after_micros"]):
                return f"posted_after_micros should be {posted}"
        if before is not None and row["created_at"] < before["created_at"]:
            return "a time before that of the row before"
        if row["leg"] == "0":
            if row["reference"] in self.references:
                return "the reference was used before"
            self.references.add(row["reference"])
        elif before is None or int(row["leg"]) != int(before["leg"]) + 1:
            return "the leg does not follow"
        elif (row["reference"], row["link_id"]) != (before["reference"], before["link_id"]):
            return "a leg of another event"
        if before is not None:
            previous = before["hash"]
        else:
            previous = GENESIS if self.from_beginning else row["previous_hash"]
        if row["previous_hash"] != previous:
            return "previous_hash is not the hash of the row before"
        canonical = to_json([row[name] for name in HASHED])
        if hashlib.sha256(f"{previous}\n{canonical}".encode("utf-8")).hexdigest() != row["hash"]:
            return "the hash is not that of the row"
        return self.lots.play(row)


# ---------------------------------------------------------------------------------------------------------------------
# The whole file


class Export:
    def __init__(self):
        self.account = None
        self.book = None
        self.books = 0
        self.rows = 0
        self.digest = hashlib.sha256()
        self.first_middle = None
        self.earliest = None
        self.latest = None

    def row(self, line, row):
        check_forms(line, row, ROW_FORMS)
        account = row["account_id"]
        if account != self.account:
            if self.account is not None and account.encode() < self.account.encode():
                raise Refused(line, "accounts out of order")
            self.account = account
            self.book = Book(row)
            self.books += 1
            if self.first_middle is None and not self.book.from_beginning:
                self.first_middle = line
        fault = self.book.next(row)
        if fault is not None:
            raise Refused(line, fault)
        self.rows += 1
        self.digest.update(f"{row['hash']}\n".encode())
        created_at = row["created_at"]
        if self.earliest is None or created_at < self.earliest[0]:
            self.earliest = (created_at, line)
        if self.latest is None or created_at > self.latest[0]:
            self.latest = (created_at, line)

    def end(self, line, end):
        check_forms(line, end, END_FORMS)
        if self.first_middle is not None and end["from"] is None:
            raise Refused(self.first_middle, "a book begins in the middle, and the export has no from")
        if self.rows > 0 and end["from"] is not None and self.earliest[0] < end["from"]:
            raise Refused(self.earliest[1], "a row before from")
        if self.rows > 0 and end["to"] is not None and self.latest[0] >= end["to"]:
            raise Refused(self.latest[1], "a row not before to")
        if self.rows > 0 and end["account"] is not None and (self.books > 1 or self.account != end["account"]):
            raise Refused(line, "rows of another account")
        if end["rows"] != str(self.rows):
            raise Refused(line, f"there are {self.rows} rows")
        of = [end[name] for name in ("rows", "from", "to", "account", "exported_at")]
        self.digest.update(to_json(of).encode("utf-8"))
        if self.digest.hexdigest() != end["digest"]:
            raise Refused(line, "the digest is not that of the rows")


def verify(stream):
    """The number of rows; raises Refused."""
    export = Export()
    ended = False
    for line, is_csv, text in read_records(stream):
        if text is None:
            if not ended:
                raise Refused(line, "the file ends without its last line")
            break
        if line == 1 and is_csv:
            if text != ",".join(COLUMNS):
                raise Refused(line, "no export begins like this")
            continue
        is_end, values = (read_csv if is_csv else read_json)(line, text)
        if ended:
            raise Refused(line, "more after the end")
        if is_end:
            export.end(line, values)
            ended = True
        else:
            export.row(line, values)
    return export.rows


def main(names):
    if not names:
        sys.exit("usage: python3 verify_export.py FILE...   (- is standard input)")
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    good = True
    for name in names:
        stream = sys.stdin.buffer if name == "-" else open(name, "rb")
        with stream:
            try:
                print(f"VERIFIED {verify(stream)} rows: {name}")
            except Refused as refused:
                good = False
                print(f"REFUSED {refused}: {name}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
