// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// What clients use to bind an encrypted document key to a server key.
interface DocumentKeyStoreServiceClientApi {
    event DocumentKeyStoreError(bytes32 indexed serverKeyId);
    event DocumentKeyStored(bytes32 indexed serverKeyId);

    function storeDocumentKey(bytes32 serverKeyId, bytes calldata commonPoint, bytes calldata encryptedPoint)
        external payable;
}
