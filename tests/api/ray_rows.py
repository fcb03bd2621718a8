"""
Goal: no row of Ray's tasks, failures, objects and actors is left out of ray_rows.md, and every test
that a row names is there.
Method: rows are table lines; what is in backquotes in the last column and has one slash must be
the suite and the name of a Test() (`suite/*`: any).
"""
import pathlib
import re
import sys

here = pathlib.Path(__file__).resolve().parent
expected = [f'{kind}{n}' for kind, most in (('T', 37), ('F', 26), ('O', 27), ('A', 25))
            for n in range(1, most + 1)] + ['C3', 'C4']
rows = {}
problems = []

for line in (here / 'ray_rows.md').read_text().splitlines():
    match = re.match(r'\| ([A-Z]\d+) \|', line)
    if not match:
        continue
    if match[1] in rows:
        problems.append(f'{match[1]} is there twice')
    rows[match[1]] = line

for row in expected:
    if row not in rows:
        problems.append(f'{row} is missing')

tests = '\n'.join(file.read_text() for file in sorted(here.parent.glob('*/*.c')))
names = 0
for row, line in rows.items():
    columns = [c.strip() for c in re.split(r'(?<!\\)\|', line)[1:-1]]
    if len(columns) != 4 or not all(columns):
        problems.append(f'{row} does not have four columns')
        continue
    for suite, name in re.findall(r'`(\w+)/(\w+|\*)`', columns[3]):
        names += 1
        if not re.search(rf'Test\({suite},\s*' + ('' if name == '*' else rf'{name}\b'), tests):
            problems.append(f'{row}: there is no test {suite}/{name}')

for problem in problems:
    print(problem)
print(f'{len(rows)} rows, {names} tests named')
sys.exit(1 if problems or not names else 0)
