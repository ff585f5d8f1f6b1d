// The report: figures, heat map, tree; each module a link to its node in the graph.

(() => {
    'use strict';

    const { count, data, graph, instead, make, operations, query, served } = window.page;
    const at = (id) => document.getElementById(id);
    const byName = new Map(data.modules.map((module) => [module.name, module]));
    const changed = (module) => module.role === 'adapted' || (module.role === 'trained' && module.trainable > 0);
    const own = (module) => (module.frozen || 0) + (module.trainable || 0);
    const percent = (value) => `${(100 * value).toPrecision(value >= 1 ? 3 : 2)} %`;
    const short = (value) => Number(value.toPrecision(3)).toString();

    // --- the graph

    const asked = new URLSearchParams(window.location.search).get('node');
    const nodeOf = (name) => {
        const module = byName.get(name);
        return module ? module.node : name; // a node need not be a module
    };
    let netron = null;
    if (data.graph && served) {
        netron = graph({ model: 'adapted', node: asked && nodeOf(asked) }, 'The model in Netron', (said) => {
            if (said.is === 'ready') {
                document.documentElement.dataset.drawn = String(Math.round(performance.now()));
            }
        });
        at('graph').append(netron.frame);
    } else {
        at('graph').append(instead(data.pictures.filter((name) => name.endsWith('.svg'))));
    }

    // --- one module, in words

    const words = (module) => {
        const sums = module.sums || {};
        const inside = sums.adapters && module.role !== 'adapted';
        const values = [
            ['', module.kind], ['r', module.r], ['alpha', module.lora_alpha], ['scaling', module.scaling],
            ['dropout', module.lora_dropout], ['adapters', inside ? sums.adapters : null],
            ['trainable', sums.trainable ? count(sums.trainable) : null], ['frozen', sums.frozen ? count(sums.frozen) : null],
            [data.flops_per ? `FLOPs per ${data.flops_per}` : 'FLOPs', sums.flops ? operations(sums.flops) : null],
            ['by the adapter', sums.adapter_flops ? `+${operations(sums.adapter_flops)}` : null],
            ['update', module.relative_update !== undefined ? percent(module.relative_update) : null],
            ['norm', typeof sums.update_norm === 'number' ? short(sums.update_norm) : null]
        ];
        return values.filter(([, value]) => value !== null && value !== undefined);
    };
    const describe = (module) => [
        make('div', {}, make('strong', {}, module.name), ' ', make('span', { class: 'quiet' }, module.type), ' ',
            changed(module) && make('span', { class: `badge ${module.role}` }, module.role === 'adapted' ? 'adapter' : 'trained in full')),
        make('div', { class: 'values' }, ...words(module).map(([name, value]) => make('div', {}, make('span', {}, name ? `${name} ` : ''), String(value))),
            make('div', { class: 'quiet' }, module.why))
    ];

    let picked = null;
    const tell = (module) => at('told').replaceChildren(...(module ? describe(module) : [
        make('div', { class: 'quiet' }, 'Point at a cell or a name to read it; click to open it in the graph.')
    ]));
    const shows = new Map(); // the elements that stand for a module
    const standsFor = (element, module) => {
        shows.set(module.name, [...(shows.get(module.name) || []), element]);
        return element;
    };
    const pick = (module, open = true) => {
        for (const element of (picked && shows.get(picked.name)) || []) {
            element.classList.remove('picked');
        }
        picked = module;
        for (const element of shows.get(module.name) || []) {
            element.classList.add('picked');
        }
        tell(module);
        if (open) {
            if (netron) {
                netron.tell({ is: 'select', node: module.node });
            }
            if (served) {
                window.history.replaceState(null, '', query({ node: module.name }));
            }
        }
    };
    const link = (module, properties, ...children) => standsFor(make('a', {
        href: query({ node: module.name }),
        onclick: (event) => {
            if (!event.ctrlKey && !event.metaKey && !event.shiftKey) {
                event.preventDefault();
                pick(module);
            }
        },
        onpointerenter: () => tell(module),
        onpointerleave: () => tell(picked),
        onfocus: () => tell(module),
        ...properties
    }, ...children), module);

    // --- the heat map

    const VIRIDIS = ['#440154', '#472d7b', '#3b528b', '#2c728e', '#21918c', '#28ae80', '#5ec962', '#addc30', '#fde725'];
    const rgb = (colour) => [1, 3, 5].map((from) => parseInt(colour.slice(from, from + 2), 16));
    const colourAt = (share) => {
        const exact = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
        const below = Math.min(Math.floor(exact), VIRIDIS.length - 2);
        const [from, to] = [rgb(VIRIDIS[below]), rgb(VIRIDIS[below + 1])];
        return from.map((value, index) => Math.round(value + (exact - below) * (to[index] - value)));
    };
    // The one of black and white that can be read better, by WCAG's relative luminance: 4.5:1 or more.
    const inkOn = (colour) => {
        const [r, g, b] = colour.map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? '#000' : '#fff';
    };
    const MEASURES = [
        { key: 'relative', name: 'update', title: 'update, relative to the weights', value: (module) => module.relative_update, text: percent },
        { key: 'norm', name: 'norm', title: 'norm of the update', value: (module) => module.update_norm, text: short },
        { key: 'rank', name: 'rank', title: 'rank of the adapter', value: (module) => module.r, text: String },
        { key: 'parameters', name: 'parameters', title: 'parameters that train', value: (module) => module.trainable, text: count }
    ];
    const cells = []; // {element, module}

    const cell = (module, tab) => {
        const element = link(module, { class: 'cell', tabindex: tab ? '0' : '-1' });
        cells.push({ element, module });
        return element;
    };

    const table = () => {
        const inBlocks = data.modules.filter((module) => module.block && own(module) > 0);
        const blocks = [...new Set(inBlocks.map((module) => module.block))];
        let parts = [...new Set(inBlocks.map((module) => module.part))];
        if (parts.length > 40) {
            parts = [...new Set(inBlocks.filter(changed).map((module) => module.part))];
        }
        if (blocks.length === 0 || parts.length === 0) {
            return null;
        }
        const found = new Map(inBlocks.map((module) => [`${module.block}\n${module.part}`, module]));
        const stems = new Set(blocks.map((block) => block.slice(0, block.lastIndexOf('.') + 1)));
        const [stem] = stems;
        const row = (block) => (stems.size === 1 ? block.slice(stem.length) : block);
        const broken = (part) => part.split(/(?<=[._])/).flatMap((piece) => [piece, document.createElement('wbr')]);
        let first = true;
        const body = blocks.map((block) => make('tr', {}, make('th', { scope: 'row', title: block }, row(block)),
            ...parts.map((part) => {
                const module = found.get(`${block}\n${part}`);
                const inside = module ? cell(module, first) : null;
                first = first && !module;
                return make('td', {}, inside);
            })));
        const heads = parts.map((part) => make('th', { scope: 'col', title: part }, ...broken(part)));
        return make('table', { 'aria-label': 'Modules of each block; arrow keys move, Enter opens' },
            make('thead', {}, make('tr', {}, make('th', { title: stem }), ...heads)), make('tbody', {}, ...body));
    };

    const others = (alone) => {
        const all = data.modules.filter((module) => !module.block && own(module) > 0);
        const shown = alone && all.length <= 60 ? all : all.filter(changed);
        const rest = all.length - shown.length;
        return make('div', { id: 'others' },
            ...shown.map((module) => make('div', {}, make('span', {}, module.name), cell(module, true))),
            rest > 0 && make('div', {}, `${alone ? '' : 'outside the blocks, '}${rest} untouched`));
    };

    const colour = (measure) => {
        const known = (roles) => cells.filter(({ module }) => changed(module) && roles.includes(module.role))
            .map(({ module }) => measure.value(module)).filter((value) => typeof value === 'number');
        // What trains in full changes more, and would leave the adapters one colour.
        const adapted = known(['adapted']);
        const values = adapted.length > 0 ? adapted : known(['adapted', 'trained']);
        const beyond = known(['trained']).some((value) => value > Math.max(...values));
        const most = Math.max(...values);
        const least = measure.key === 'rank' || measure.key === 'parameters' ? Math.min(...values) : 0;
        const share = (value) => (most > least ? (value - least) / (most - least) : 0.5);
        for (const { element, module } of cells) {
            const value = measure.value(module);
            const told = changed(module) && typeof value === 'number';
            element.className = `cell${changed(module) ? (told ? '' : ' unknown') : ' untouched'}${module === picked ? ' picked' : ''}`;
            const [fill, text] = told ? [colourAt(share(value)), measure.text(value)] : [null, changed(module) ? 'full' : ''];
            element.style.background = fill ? `rgb(${fill})` : '';
            element.style.color = fill ? inkOn(fill) : '';
            element.textContent = text;
            element.setAttribute('aria-label', `${module.name}: ${told ? `${measure.title} ${text}` : changed(module) ? 'trained in full' : 'untouched'}`);
        }
        const ticks = values.length === 0 ? [] : most > least ? [least, most] : [most];
        at('scale').replaceChildren(...[
            make('span', {}, measure.title),
            ticks.length > 1 && make('span', { class: 'number' }, measure.text(ticks[0])),
            make('span', { class: 'gradient', style: { background: ticks.length > 1 ? `linear-gradient(to right, ${VIRIDIS.join()})` : `rgb(${colourAt(0.5)})` } }),
            ticks.length > 0 && make('span', { class: 'number' }, `${measure.text(ticks[ticks.length - 1])}${beyond ? ' and more' : ''}`),
            make('span', { class: 'swatch cell untouched apart' }), make('span', {}, 'untouched')
        ].filter(Boolean));
        for (const button of at('measures').children) {
            button.setAttribute('aria-checked', String(button.dataset.key === measure.key));
            button.tabIndex = button.dataset.key === measure.key ? 0 : -1;
        }
    };

    // Arrow keys move among the cells, of which one is reached by Tab.
    const walk = (event) => {
        const steps = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
        const here = event.target.closest('td');
        if (!here || !steps[event.key]) {
            return;
        }
        event.preventDefault();
        const [dx, dy] = steps[event.key];
        const rows = Array.from(here.closest('tbody').rows);
        let [x, y] = [here.cellIndex + dx, rows.indexOf(here.parentElement) + dy];
        while (rows[y] && rows[y].cells[x]) {
            const next = rows[y].cells[x].querySelector('a');
            if (next) {
                event.target.tabIndex = -1;
                next.tabIndex = 0;
                next.focus();
                return;
            }
            [x, y] = [x + dx, y + dy];
        }
    };

    const has = (measure) => cells.some(({ module }) => changed(module) && typeof measure.value(module) === 'number');
    const showMap = () => {
        const blocks = table();
        at('cells').append(...[blocks, others(!blocks)].filter(Boolean));
        colour(MEASURES.find(has) || MEASURES[3]); // the widths depend on the values
        if (blocks && blocks.offsetWidth > at('cells').clientWidth) {
            blocks.className = 'many';
        }
        at('cells').addEventListener('keydown', walk);
        const buttons = MEASURES.map((measure) => make('button', {
            type: 'button', role: 'radio', 'data-key': measure.key, title: has(measure) ? measure.title : `${measure.title}: not known`,
            disabled: !has(measure), onclick: () => colour(measure)
        }, measure.name));
        at('measures').append(...buttons);
        at('measures').addEventListener('keydown', (event) => {
            const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
            const open = buttons.filter((button) => !button.disabled);
            const next = step && open[open.indexOf(event.target) + step];
            if (next) {
                next.click();
                next.focus();
            }
        });
        colour(MEASURES.find(has) || MEASURES[3]);
    };

    // --- the tree

    const grow = () => {
        const root = { children: new Map(), name: '', module: null };
        for (const module of data.modules) {
            let place = root;
            let name = '';
            for (const part of module.name.split('.')) {
                name = name ? `${name}.${part}` : part;
                if (!place.children.has(part)) {
                    place.children.set(part, { children: new Map(), name, module: null, label: part });
                }
                place = place.children.get(part);
            }
            place.module = module;
        }
        return root;
    };

    const rows = []; // {element, place}
    const row = (place) => {
        const module = place.module || { name: place.name, type: '', role: 'frozen', node: null, sums: {}, why: '' };
        const { adapters, trainable } = module.sums;
        const badge = changed(module)
            ? make('span', { class: `badge ${module.role}` }, module.role === 'adapted' ? [module.kind, module.r && `r=${module.r}`].filter(Boolean).join(' ') : 'trained')
            : null;
        const inside = !badge && adapters ? make('span', { class: 'quiet' }, `${adapters} adapter${adapters > 1 ? 's' : ''}`) : null;
        return make('span', { class: `row${trainable ? '' : ' untouched'}` }, link(module, {}, place.label),
            make('span', { class: 'type' }, module.type), badge, inside,
            trainable ? make('span', { class: 'count number', title: 'parameters that train' }, count(trainable)) : null);
    };
    const branch = (place, depth) => {
        let whole = place;
        while (whole.children.size === 1 && !/^\d+$/.test(whole.label) && !(whole.module && own(whole.module))) { // a box in a box
            const [inner] = whole.children.values();
            whole = { ...inner, label: `${whole.label}.${inner.label}` };
        }
        const line = row(whole);
        let element = make('div', {}, line);
        const children = Array.from(whole.children.values(), (child) => branch(child, depth + 1));
        if (children.length > 0) {
            const summary = make('summary', { tabindex: '-1' }, line);
            element = make('details', { open: depth < 2 && !/(^|\.)\d+$/.test(whole.label) }, summary, ...children.map((child) => child.element));
        }
        const kept = { element, line, place: whole, children, open: element.open };
        rows.push(kept);
        return kept;
    };

    const matches = (module, text) => text.split(/\s+/).every((word) => [
        module.name, module.type, module.role, module.kind || '', module.r ? `r=${module.r}` : ''
    ].some((said) => said.toLowerCase().includes(word)));

    const search = (roots, text) => {
        let number = 0;
        const look = (each) => {
            const hit = !text || (each.place.module !== null && matches(each.place.module, text));
            number += hit && text ? 1 : 0;
            const below = each.children.map(look).some(Boolean);
            each.element.hidden = !hit && !below;
            if (each.children.length > 0) {
                each.element.open = text ? below : each.open;
            }
            each.line.style.opacity = text && !hit ? '0.6' : '';
            return hit || below;
        };
        roots.forEach(look);
        at('found').textContent = text ? `${number} of ${data.modules.length}` : `${data.modules.length}`;
    };

    const showTree = () => {
        const roots = Array.from(grow().children.values(), (place) => branch(place, 0));
        at('tree').append(...roots.map((each) => each.element));
        for (const each of rows) {
            each.element.addEventListener('toggle', () => {
                each.open = at('search').value ? each.open : each.element.open;
            });
        }
        at('search').addEventListener('input', () => search(roots, at('search').value.trim().toLowerCase()));
        search(roots, '');
        if (asked && byName.has(asked)) {
            const module = byName.get(asked);
            pick(module, false);
            for (const element of shows.get(asked)) {
                for (let outer = element.closest('details'); outer; outer = outer.parentElement.closest('details')) {
                    outer.open = true;
                }
                element.scrollIntoView({ block: 'nearest' });
            }
        }
    };

    // --- the rest

    const showFacts = () => {
        const lines = (title, values) => values.length > 0 ? [
            make('h2', {}, title),
            make('table', {}, ...values.map(([name, value]) => make('tr', {}, make('td', {}, name), make('td', {}, String(value)))))
        ] : [];
        at('facts').append(
            make('div', { class: 'top' }, make('strong', {}, data.title), make('button', { type: 'button', onclick: () => at('facts').close() }, 'close')),
            ...lines('The graph', data.facts), ...lines('Settings of the run', data.settings)
        );
    };

    at('figures').append(...data.figures.map(([name, value, about]) => make('div', {}, make('dt', {}, name), make('dd', {}, value), make('dd', {}, about.replace(/ %/g, '\u00a0%')))));
    at('links').append(
        ...(data.compare ? [make('a', { href: 'compare.html' }, 'Compare with the base')] : []),
        ...(data.pictures.length > 0 ? [make('span', { class: 'quiet' }, 'Pictures: ', ...data.pictures.flatMap((name, index) => [
            index > 0 ? ', ' : '', make('a', { href: `pictures/${name}` }, name)
        ]))] : []),
        make('a', { href: 'placement.json' }, 'placement.json'),
        make('a', { href: '#facts', onclick: (event) => { event.preventDefault(); at('facts').showModal(); } }, 'All facts')
    );
    tell(null);
    showMap();
    showTree();
    showFacts();
})();
