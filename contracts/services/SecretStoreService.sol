// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {DocumentKeyShadowRetrieval} from "contracts/services/DocumentKeyShadowRetrieval.sol";
import {DocumentKeyStore} from "contracts/services/DocumentKeyStore.sol";
import {ServerKeyGeneration} from "contracts/services/ServerKeyGeneration.sol";
import {ServerKeyRetrieval} from "contracts/services/ServerKeyRetrieval.sol";
import {ServiceBase} from "contracts/services/ServiceBase.sol";

/// All four services in one contract, with one balance per key server.
///
/// It remembers who had a key generated here, and lets nobody else store a document key with it.
contract SecretStoreService is
    ServerKeyGeneration,
    ServerKeyRetrieval,
    DocumentKeyStore,
    DocumentKeyShadowRetrieval
{
    error NotAuthor();

    mapping(bytes32 serverKeyId => address) private _authors;

    constructor(address keyServerSetAddressInit) ServiceBase(keyServerSetAddressInit) {}

    function _serverKeyAgreed(bytes32 serverKeyId, uint256 position) internal override {
        _authors[serverKeyId] = _authorOfGeneration(position);
    }

    function _requireMayStore(bytes32 serverKeyId, address author) internal view override {
        address known = _authors[serverKeyId];
        if (known != address(0) && known != author) revert NotAuthor();
    }
}
