// The rows of the report: some of each split, how long they are, and how often each label is there.

(() => {
    'use strict';

    const { data, make } = window.page;
    const { at } = window.report;
    const told = data.rows;
    if (!told) {
        return;
    }

    const whole = (value) => value.toLocaleString('en-US');
    const more = (count, what) => count > 0 && make('span', { class: 'quiet' }, ` and ${whole(count)} more ${what}`);

    const content = (part) => {
        if (part.image !== undefined) {
            return make('img', { src: `data:image/png;base64,${part.image}`, alt: part.name });
        }
        if (part.turns) {
            return make('div', {}, ...part.turns.map(([role, said]) => make('p', {}, make('b', {}, role), ' ', said)), more(part.more, 'turns'));
        }
        if (part.words) {
            return make('div', { class: 'words' }, ...part.words.map(([word, tag]) => make('span', { class: tag === 'O' ? 'word quiet' : 'word' }, word, make('i', {}, tag))), more(part.more, 'words'));
        }
        return part.text;
    };
    const table = (rows) => {
        const [first] = rows;
        const labelled = rows.some((row) => row.label !== null);
        const counted = rows.some((row) => row.tokens !== null);
        const heads = [...first.parts.map((part) => part.name), ...(labelled ? ['label'] : []), ...(counted ? ['tokens'] : [])];
        return make('table', { class: 'shown' },
            make('thead', {}, make('tr', {}, ...heads.map((head) => make('th', { scope: 'col' }, head)))),
            make('tbody', {}, ...rows.map((row) => make('tr', {}, ...row.parts.map((part) => make('td', {}, content(part))),
                labelled && make('td', {}, row.label === null ? 'none' : row.label), counted && make('td', { class: 'number' }, whole(row.tokens))))));
    };
    const labels = (split) => split.labels.length > 0 && make('p', { class: 'labels' }, make('span', { class: 'quiet' }, 'labels: '),
        ...split.labels.map(([name, count]) => make('span', {}, name, make('span', { class: 'quiet number' }, ` ${whole(count)}`))), more(split.more_labels, 'labels'));

    const histogram = ({ bins, limit, cut, rows }) => {
        const most = Math.max(...bins.map(([, , count]) => count));
        const said = limit === null ? 'no limit' : `${whole(cut)} of ${whole(rows)} (${(100 * cut / rows).toFixed(1)} %) are cut at ${whole(limit)}`;
        return [
            make('h2', {}, 'Tokens of the training rows'), make('p', { class: 'quiet', id: 'cut' }, said),
            make('table', { id: 'lengths' }, ...bins.map(([low, high, count]) => make('tr', {},
                make('th', { scope: 'row' }, low === high ? whole(low) : `${whole(low)} to ${whole(high)}`),
                make('td', {}, make('span', { class: 'bar-of', style: { width: `${100 * count / most}%` } })), make('td', { class: 'number' }, whole(count)))))
        ];
    };

    at('rows').append(
        make('div', { class: 'top' }, make('strong', {}, 'Data'), make('button', { type: 'button', onclick: () => at('rows').close() }, 'close')),
        ...Object.entries(told.splits).flatMap(([name, split]) => [
            make('h2', {}, `${name[0].toUpperCase()}${name.slice(1)}: ${whole(split.rows)} row${split.rows === 1 ? '' : 's'}`), labels(split) || '', split.shown.length > 0 ? table(split.shown) : ''
        ]),
        ...(told.lengths ? histogram(told.lengths) : [])
    );
    const open = () => at('rows').showModal();
    at('links').append(make('a', { href: '#data', onclick: (event) => { event.preventDefault(); open(); } }, 'Data'));
    if (window.location.hash === '#data') {
        open();
    }
})();
