// Two graphs side by side that pan, zoom and open blocks together, and the list of what differs.

(() => {
    'use strict';

    const { data, graph, instead, make, served } = window.page;
    const at = (id) => document.getElementById(id);
    const statuses = new Map(data.statuses.map((status) => [status.key, status]));
    const quiet = ['untouched', 'missing'];
    const swatch = (colour) => make('span', { class: 'swatch', style: { background: colour } });

    // --- the graphs: the one that a person moves leads, the other follows

    const panes = [];
    let leader = null;
    const heard = (pane, said) => {
        const other = panes[1 - panes.indexOf(pane)];
        if (said.is === 'ready') {
            pane.ready = true;
            if (panes.every((each) => each.ready)) {
                document.documentElement.dataset.drawn = String(Math.round(performance.now()));
                leader = leader || panes[1];
                leader.tell({ is: 'where' });
            }
        } else if (said.is === 'led') {
            leader = pane;
            pane.turn = said.turn;
        } else if (said.is === 'at' && pane === leader && other.ready) {
            pane.note.textContent = '';
            other.tell({ ...said, is: 'follow', turn: other.turn });
        } else if (said.is === 'followed') {
            pane.note.textContent = said.missing ? `cannot open ${said.missing} here` : '';
        }
    };
    data.sides.forEach((side, index) => {
        const note = make('span', { class: 'note', role: 'status' });
        const inside = make('div', { class: 'inside' });
        at(index === 0 ? 'left' : 'right').append(
            make('div', { class: 'bar' }, make('h2', {}, side.name), make('span', { class: 'quiet' }, side.about), note), inside
        );
        if (data.graph && served) {
            const pane = { note, ready: false, turn: 0 };
            const netron = graph({ model: side.key, compare: '' }, side.name, (said) => heard(pane, said));
            pane.tell = netron.tell;
            panes.push(pane);
            inside.append(netron.frame);
        } else {
            inside.append(instead([]));
        }
    });

    // --- the list

    const marked = [];
    const open = (module, element) => {
        marked.splice(0).forEach((each) => each.classList.remove('picked'));
        element.classList.add('picked');
        marked.push(element);
        if (panes.length > 0) {
            panes.forEach((pane, index) => pane.tell({ is: 'select', node: module.nodes[index] }));
            leader = panes[module.status === 'left' ? 0 : 1];
            leader.tell({ is: 'where' });
        }
    };
    const line = (module) => {
        const name = module.block ? module.name.slice(module.block.length + 1) || module.name : module.name;
        const { colour, text } = statuses.get(module.status);
        const element = make('div', { class: 'module', title: module.name },
            swatch(colour),
            make('a', { href: '#', onclick: (event) => { event.preventDefault(); open(module, element); } }, name), ' ',
            make('span', { class: 'quiet' }, text),
            quiet.includes(module.status) ? null : make('div', {}, module.left, data.report ? ' \u2192 ' : ' | ', make('b', {}, module.right)));
        return { element, module };
    };
    const counts = (modules) => data.statuses.map((status) => [modules.filter((module) => module.status === status.key).length, status])
        .filter(([number]) => number > 0);

    const blocks = new Map();
    for (const module of data.modules) {
        blocks.set(module.block, [...(blocks.get(module.block) || []), module]);
    }
    const lines = [];
    const groups = Array.from(blocks, ([block, modules]) => {
        const inside = modules.map(line);
        lines.push(...inside);
        const told = counts(modules).flatMap(([number, { colour }], index) => [index > 0 ? '\u2002' : '', swatch(colour), String(number)]);
        const element = make('details', {}, make('summary', {}, block || 'outside of blocks', make('span', { class: 'counts' }, ...told)),
            ...inside.map((each) => each.element));
        return { element, inside };
    });
    const firstChanged = groups.find((group) => group.inside.some(({ module }) => !quiet.includes(module.status)));
    if (firstChanged) {
        firstChanged.element.open = true;
    }
    at('blocks').append(...groups.map((group) => group.element));

    const filter = () => {
        const text = at('search').value.trim().toLowerCase();
        const all = at('all').getAttribute('aria-pressed') === 'true';
        let number = 0;
        for (const { element, inside } of groups) {
            let seen = 0;
            for (const { element: each, module } of inside) {
                each.hidden = !((all || !quiet.includes(module.status)) && module.name.toLowerCase().includes(text));
                seen += each.hidden ? 0 : 1;
            }
            element.hidden = seen === 0;
            element.open = text ? seen > 0 : element.open;
            number += seen;
        }
        at('found').textContent = `${number} of ${data.modules.length}`;
    };
    at('search').addEventListener('input', filter);
    at('all').addEventListener('click', () => {
        at('all').setAttribute('aria-pressed', String(at('all').getAttribute('aria-pressed') !== 'true'));
        filter();
    });
    filter();

    // --- the rest

    at('legend').append(...counts(data.modules).map(([number, { colour, text }]) => make('li', {}, swatch(colour), `${text} (${number})`)),
        make('li', {}, swatch(data.around.colour), data.around.text));
    const table = (rows) => make('table', {}, ...rows.map((values) => make('tr', {}, ...values.map((value) => make('td', {}, value)))));
    at('tables').append(...[data.totals, data.settings].filter((rows) => rows.length > 0).map(table));
    if (data.report) {
        at('links').append(make('a', { href: 'index.html' }, 'Report'));
    }
})();
