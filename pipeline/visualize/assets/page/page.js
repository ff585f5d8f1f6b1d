// What our pages share: their data, elements, and the frames that show Netron.

window.page = (() => {
    'use strict';

    const data = JSON.parse(document.getElementById('data').textContent);

    // An element; text is always text, so that no name can be markup.
    const make = (tag, properties = {}, ...children) => {
        const element = document.createElement(tag);
        for (const [name, value] of Object.entries(properties)) {
            if (value === null || value === undefined || value === false) {
                continue;
            }
            if (name === 'style') {
                Object.assign(element.style, value);
            } else if (name.startsWith('on')) {
                element.addEventListener(name.slice(2), value);
            } else {
                element.setAttribute(name, value === true ? '' : value);
            }
        }
        element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
        return element;
    };

    const short = (billion) => (value) => {
        // Rounded first, to what the unit below would show: 999,960,000 is 1.0 B, not 1000.0 M.
        for (const [unit, size, step] of [['T', 1e12, 1e8], [billion, 1e9, 1e5], ['M', 1e6, 1]]) {
            if (Math.round(value / step) * step >= size) {
                return `${(value / size).toFixed(1)} ${unit}`;
            }
        }
        return value.toLocaleString('en-US');
    };
    const count = short('B'); // of parameters: 8.0 B
    const operations = short('G'); // 16.1 G

    // A browser lets no page that was opened as a file read other files, which Netron must.
    const served = window.location.protocol !== 'file:';

    const query = (values) => {
        const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined);
        return `?${new URLSearchParams(given)}`;
    };

    // A frame with Netron in it, and the messages to and from it.
    const graph = (values, title, heard) => {
        const frame = make('iframe', { src: `netron/index.html${query(values)}`, title });
        window.addEventListener('message', (event) => {
            if (event.source === frame.contentWindow && event.origin === window.location.origin
                && event.data && event.data.graft) {
                heard(event.data);
            }
        });
        const tell = (message) => frame.contentWindow.postMessage({ graft: true, ...message }, window.location.origin);
        return { frame, tell };
    };

    // What stands where Netron cannot.
    const instead = (pictures) => make('div', { class: 'away' },
        !served ? make('p', {}, 'Opened as a file, this page cannot show the graph itself. Serve its folder, with ',
            make('code', {}, 'python -m http.server'), ' in it, and open the address that is printed.')
            : make('p', {}, 'The installed Netron is not one this page knows; ',
                make('code', {}, 'python -m pipeline open RUN'), ' shows the graph in Netron\u2019s own page.'),
        ...pictures.map((name) => make('img', { src: `pictures/${name}`, alt: `Picture of the graph: ${name}` })));

    return { count, data, graph, instead, make, operations, query, served };
})();
