"""Random states, the same for the same seed: most are the state before with a change."""

import math
import random

# The kinds of states, and how often each occurs in a hundred.
KINDS = {"changed": 83, "equal": 4, "unrelated": 4, "long": 4, "random": 3, "short": 2}

# Each entry has about 90 bytes.
MAX_ENTRIES = 100
LONG_ENTRIES = range(360, 650)  # More than the window of 32 KiB.
HUGE_ENTRIES = 3_300  # More than the 256 KiB that the server compresses.
MAX_CHANGE = 0.2

NAMES = ["login", "search", "größe", "東京", "kasse 🛒", "москва", 'a "quoted" name']
REGIONS = ["eu-west", "us-east", "ap-south"]
# One to four bytes in UTF-8.
CHARACTERS = [*map(chr, range(128)), *"äöüßéñ", *"東京大阪", *"🚀🛒"]


def states(seed, count):
    """Yields this number of states. Only the last one is certain to differ from all others."""
    rng = random.Random(seed)
    document = entries(rng, MAX_ENTRIES)
    long = entries(rng, rng.choice(LONG_ENTRIES))
    state = ""
    for revision in range(count):
        [kind] = rng.choices(list(KINDS), KINDS.values())
        if revision == count // 2:
            state = text(revision, entries(rng, HUGE_ENTRIES))
        elif kind == "changed" or revision == count - 1:
            change(rng, document)
            state = text(revision, document)
        elif kind == "unrelated":
            document = entries(rng, round(math.exp(rng.uniform(math.log(2), math.log(MAX_ENTRIES)))))
            state = text(revision, document)
        elif kind == "long":
            # With a change only, so that the state before may be similar and too long.
            for _ in range(rng.randrange(1, 3)):
                change(rng, long)
            state = text(revision, long)
        elif kind == "random":
            state = "".join(rng.choices(CHARACTERS, k=rng.randrange(9_000)))
        elif kind == "short":
            state = "".join(rng.choices(CHARACTERS, k=rng.choice([0, 1, 10, 60])))
        yield state


def text(revision, document):
    return '{"revision":%d,"services":[%s]}' % (revision, ",".join(document))


def entries(rng, count):
    return [entry(rng) for _ in range(count)]


def change(rng, document):
    count = math.ceil(len(document) * rng.uniform(0.01, MAX_CHANGE))
    for index in rng.sample(range(len(document)), count):
        document[index] = entry(rng)


def entry(rng):
    name = rng.choice(NAMES).replace('"', '\\"')
    return '{"id":"%08x","name":"%s","region":"%s","latency_us":%d,"requests_per_s":%d}' % (
        rng.getrandbits(32), name, rng.choice(REGIONS), rng.randrange(50_000), rng.randrange(100_000))
