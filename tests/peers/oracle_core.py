"""A small reverse-mode differentiation in plain Python, and what routers are made of."""
import math

INF = math.inf


class Var:
    """A number that remembers what it was made of: pairs (other Var, partial derivative)."""

    def __init__(self, value, made_of=()):
        self.value, self.made_of, self.grad = value, made_of, 0.0

    def __add__(self, other):
        other = lift(other)
        return Var(self.value + other.value, ((self, 1.0), (other, 1.0)))

    def __mul__(self, other):
        other = lift(other)
        return Var(self.value * other.value, ((self, other.value), (other, self.value)))

    def __sub__(self, other):
        return self + lift(other) * -1.0

    def __truediv__(self, other):
        other = lift(other)
        return Var(self.value / other.value, ((self, 1 / other.value), (other, -self.value / other.value**2)))

    __radd__, __rmul__ = __add__, __mul__


def lift(x):
    return x if isinstance(x, Var) else Var(float(x))


def unary(x, value, slope):
    return Var(value, ((x, slope),))


def exp(x):
    return unary(x, math.exp(x.value), math.exp(x.value))


def log(x):
    return unary(x, math.log(x.value), 1 / x.value)


def softplus(x):
    z = x.value
    return unary(x, max(z, 0) + math.log1p(math.exp(-abs(z))), 1 / (1 + math.exp(-z)))


def normal_cdf(x):
    return unary(x, 0.5 * math.erfc(-x.value / math.sqrt(2)), math.exp(-x.value**2 / 2) / math.sqrt(2 * math.pi))


def stop(x):
    return Var(x.value)


def backward(root):
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.made_of)
    root.grad = 1.0
    for node in reversed(order):
        for parent, slope in node.made_of:
            parent.grad += node.grad * slope


def total(items):
    result = Var(0.0)
    for item in items:
        result = result + item
    return result


def softmax(row):
    """Of Vars; masked entries (minus infinity) get exactly nothing."""
    live = [x for x in row if x.value > -INF]
    if not live:
        return [Var(0.0) for _ in row]
    shift = max(x.value for x in live)
    weights = [exp(x - shift) if x.value > -INF else Var(0.0) for x in row]
    bottom = total(weights)
    return [w / bottom for w in weights]


def cv_squared(values):
    n = len(values)
    mean = total(values) / n
    if mean.value == 0:
        return Var(0.0)
    return total((v - mean) * (v - mean) for v in values) / n / (mean * mean + 1e-10)


def ranking(row):
    return sorted(range(len(row)), key=lambda i: (-row[i].value, i))


def sigmoid(x):
    s = 0.0 if x.value == -INF else 1 / (1 + math.exp(-x.value)) if x.value > -700 else math.exp(x.value)
    return unary(x, s, s * (1 - s))
